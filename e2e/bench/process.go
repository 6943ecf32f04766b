package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	adminPassword = "correct-horse-battery-staple-1"
	ticksPerSec   = 100 // USER_HZ, the unit of /proc/PID/stat
)

// A process is a server under measurement.
type process struct {
	name string
	base string
	cmd  *exec.Cmd
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// launch starts a server and waits until url answers.
func launch(name, address, url string, args ...string) (*process, error) {
	p := &process{name: name, base: "http://" + address, cmd: exec.Command(args[0], args[1:]...)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for range 2000 {
		if resp, err := http.Get(url); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return p, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, fmt.Errorf("%s did not start", name)
}

func (p *process) stop() {
	if p != nil {
		p.cmd.Process.Signal(syscall.SIGTERM)
		p.cmd.Wait()
	}
}

// cpu returns the seconds of processor time used so far, all threads.
func (p *process) cpu() float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSec
}

// memory returns resident and peak resident bytes.
func (p *process) memory() (now, peak int64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(b)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			now = kib << 10
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			peak = kib << 10
		}
	}
	return now, peak
}

// resetPeak makes the kernel count the peak anew.
func (p *process) resetPeak() {
	os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

func (b *bench) start() (err error) {
	if b.ours, err = b.startOurs(filepath.Join(b.dir, "sallyport")); err != nil {
		return err
	}
	if b.dist, err = b.startDist("distribution", ""); err != nil {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(adminPassword), 10)
	if err != nil {
		return err
	}
	htpasswd := filepath.Join(b.dir, "htpasswd")
	if err := os.WriteFile(htpasswd, []byte("admin:"+string(hash)+"\n"), 0o600); err != nil {
		return err
	}
	if b.distLogin, err = b.startDist("distribution htpasswd", "auth: {htpasswd: {realm: bench, path: "+htpasswd+"}}\n"); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b.floor, err = launch("floor", address, "http://"+address+"/", self, "floor", address, filepath.Join(b.dir, "floor"))
	return err
}

// startOurs starts ours without TLS, with more lines of configuration.
func (b *bench) startOurs(dir string, more ...string) (*process, error) {
	return b.startOn("http", dir, append(more, "insecure_http: true")...)
}

func (b *bench) startOn(scheme, dir string, more ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	health, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(adminPassword+"\n"), 0o600); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "sallyport.yaml")
	text := fmt.Sprintf("data: %s/data\nlisten: %s\nadmin_password_file: %s\nhealth: {listen: %q}\n", dir, address, password, health) + strings.Join(append(more, ""), "\n")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := launch("sallyport", address, "http://"+health+"/readyz", b.sallyport, "serve", "--config", config)
	if err == nil {
		p.base = scheme + "://" + address
	}
	return p, err
}

func (b *bench) startDist(name, auth string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q, secret: bench}\n%s",
		dir+"/data", address, auth)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return launch(name, address, "http://"+address+"/v2/", b.registry, "serve", config)
}

func (b *bench) stop() {
	for _, p := range []*process{b.ours, b.dist, b.distLogin, b.floor} {
		p.stop()
	}
}
