package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"
	// A server that says nothing, or nonsense, is asked so often (RFC 8628, 3.5),
	// and seldom enough whatever it says.
	usualInterval, maxInterval = 5 * time.Second, time.Minute
	// Nobody waits longer for an approval, whatever the server says.
	maxDeviceLife = 30 * time.Minute
)

// userCodes is what is shown to be typed; it cannot play with a terminal.
var userCodes = regexp.MustCompile(`^[A-Za-z0-9-]{4,32}$`)

// A Device is a sign-in with a browser on another machine (RFC 8628).
type Device struct {
	Page     string // where people approve it, a URL of the server's
	UserCode string // what they type there
	Ends     time.Time

	in       *SignIn
	code     access.Secret
	interval time.Duration
}

// Device begins one. Errors: ErrNoSignIn.
func (s *SignIn) Device(ctx context.Context) (*Device, error) {
	if s.says.Device == "" {
		return nil, ErrNoSignIn
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.says.Device, strings.NewReader(url.Values{"client_id": {clientID}}.Encode()))
	if err != nil {
		return nil, fmt.Errorf("ask for a code: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.wire.send(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK || len(b) > maxMetadata {
		return nil, refusedDevice(resp, b)
	}
	return s.readDevice(b)
}

func refusedDevice(resp *http.Response, body []byte) error {
	var said struct {
		Text string `json:"error_description"`
	}
	_ = json.Unmarshal(body, &said) // "" then
	return &Problem{Status: resp.StatusCode, Title: "no code to sign in with", Detail: said.Text, RequestID: resp.Header.Get("X-Request-Id")}
}

// readDevice believes nothing that would be shown or followed.
func (s *SignIn) readDevice(body []byte) (*Device, error) {
	var said struct {
		Code     string `json:"device_code"`
		UserCode string `json:"user_code"`
		Page     string `json:"verification_uri"`
		Expires  int64  `json:"expires_in"` // seconds
		Interval int64  `json:"interval"`
	}
	bad := json.Unmarshal(body, &said) != nil
	page, err := s.login.Server.pin(said.Page)
	if err == nil && (bad || !userCodes.MatchString(said.UserCode) || said.Code == "" || len(said.Code) > maxCode || said.Expires <= 0) {
		err = errors.New("it is not as RFC 8628 has it")
	}
	if err != nil {
		return nil, fmt.Errorf("the code that %s gives cannot be used: %w", s.login.Server, err)
	}
	seconds := func(n int64, most time.Duration) time.Duration {
		return time.Duration(min(n, int64(most/time.Second))) * time.Second
	}
	d := &Device{Page: page, UserCode: said.UserCode, in: s, code: access.NewSecret(said.Code), interval: usualInterval}
	d.Ends = s.options.now().Add(seconds(said.Expires, maxDeviceLife))
	if said.Interval > 0 {
		d.interval = seconds(said.Interval, maxInterval)
	}
	return d, nil
}

// Wait asks the server, not more often than it wants, until somebody has approved.
// A server that cannot be reached for a while is asked again. Errors:
// ErrNotSignedIn.
func (d *Device) Wait(ctx context.Context) (Login, error) {
	var last error
	for {
		if err := d.in.options.wait(ctx, d.interval); err != nil {
			return Login{}, err
		}
		if !d.in.options.now().Before(d.Ends) {
			return Login{}, d.late(last)
		}
		l, err := d.ask(ctx)
		refused, isRefused := errors.AsType[*grantRefused](err)
		switch {
		case err == nil, errors.Is(err, ErrNotSignedIn), ctx.Err() != nil:
			return l, err
		case isRefused && refused.code == "authorization_pending":
			continue
		case isRefused && refused.code == "expired_token":
			return l, d.late(nil)
		case isRefused && refused.Status/100 == 4 && refused.Status != http.StatusTooManyRequests && refused.code != "slow_down":
			return l, refusedBy(d.in.login.Server, refused.code, refused.Detail)
		case !isRefused || refused.code != "slow_down":
			last = err
		}
		d.interval = min(d.interval+usualInterval, maxInterval)
	}
}

// late says that the time is over, and what was wrong with the server last.
func (d *Device) late(last error) error {
	if last != nil {
		return fmt.Errorf("%w: nobody approved it in time; at last: %w", ErrNotSignedIn, last)
	}
	return fmt.Errorf("%w: nobody approved it in time", ErrNotSignedIn)
}

func (d *Device) ask(ctx context.Context) (Login, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return d.in.redeem(ctx, url.Values{"grant_type": {deviceGrant}, "device_code": {d.code.Reveal()}})
}

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

func (o Options) wait(ctx context.Context, d time.Duration) error {
	if o.Wait != nil {
		return o.Wait(ctx, d)
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
