package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	browserlog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take.
const patience = 20 * time.Second

// A browser is Chromium with one tab.
type browser struct {
	ctx   context.Context
	close func()

	mu   sync.Mutex
	said []string // in the console, and in the panel of issues
}

func openBrowser(ctx context.Context, profile, trust string) (*browser, error) {
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.ExecPath("/usr/bin/chromium"), chromedp.UserDataDir(profile),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("lang", "en"),
		chromedp.Flag("ignore-certificate-errors-spki-list", trust),
	)
	allocator, closeAllocator := chromedp.NewExecAllocator(ctx, options...)
	tab, closeTab := chromedp.NewContext(allocator)
	b := &browser{ctx: tab, close: func() { closeTab(); closeAllocator() }}
	if err := chromedp.Listen(tab, b.listen); err != nil {
		return nil, err
	}
	if _, err := chromedp.Call(tab, audits.Enable, cdp.Empty{}); err != nil {
		return nil, err
	}
	return b, nil
}

// listen keeps what Chromium complains of: whatever a policy of ours forbids is a
// violation in the console, an issue, or both.
func (b *browser) listen(event any) {
	var said string
	switch e := event.(type) {
	case *browserlog.EventEntryAdded:
		said = fmt.Sprintf("%s %s: %s (%s)", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *runtime.EventExceptionThrown:
		said = e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		said = fmt.Sprintf("console: %v", e.Args)
	case *audits.EventIssueAdded:
		said = fmt.Sprintf("issue: %s", e.Issue.Code)
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, said)
}

// complaints returns what was said since the last time.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	said := b.said
	b.said = nil
	return said
}

func (b *browser) do(step chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Do(ctx, step)
}

func (b *browser) open(url string) error { return b.do(chromedp.Navigate(url)) }

func (b *browser) typed(at, text string) error {
	return b.do(chromedp.SendKeys(chromedp.CSS(at), text))
}

// click presses the mouse where the element is shown.
func (b *browser) click(at string) error { return b.do(chromedp.Click(chromedp.CSS(at))) }

// page returns the address and the text that are shown.
func (b *browser) page() (url, text string) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for ctx.Err() == nil {
		url, err := chromedp.Run(ctx, chromedp.Location())
		if err == nil {
			text, err = chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
		}
		if err == nil {
			return url, text
		}
		time.Sleep(20 * time.Millisecond) // it was on its way to another page
	}
	return "", ""
}

// see waits for a page that says text.
func (b *browser) see(text string) error {
	var url, last string
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		if url, last = b.page(); strings.Contains(last, text) {
			return nil
		}
	}
	return fmt.Errorf("%s does not say %q but %q", url, text, last)
}

// script lets pages run JavaScript, or not.
func (b *browser) script(on bool) error {
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
	return err
}

// cookies returns all that Chromium keeps, of all hosts.
func (b *browser) cookies() ([]string, error) {
	all, err := chromedp.CallBrowser(b.ctx, storage.GetCookies, storage.GetCookiesParams{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range all.Cookies {
		out = append(out, fmt.Sprintf("%s %s %s=%s secure=%t httponly=%t %s", c.Domain, c.Path, c.Name, c.Value, c.Secure, c.HTTPOnly, c.SameSite))
	}
	return out, nil
}
