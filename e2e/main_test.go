package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Docker does not verify TLS for addresses in 127.0.0.0/8. So the tests run in
// a network namespace of their own, where the registry has an address of the
// documentation range (RFC 5737) and a name of the reserved .test domain.
const (
	registryIP   = "192.0.2.10"
	registryName = "registry.sallyport.test"
	inNamespace  = "SALLYPORT_E2E_NAMESPACE"
)

// binary is the server under test, built from this tree.
var binary string

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	code := m.Run()
	if os.Getenv(inNamespace) != "" {
		os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

func prepare() error {
	if binary = os.Getenv(inNamespace); binary != "" {
		return furnish()
	}
	dir, err := os.MkdirTemp("", "sallyport-e2e-")
	if err != nil {
		return err
	}
	binary = filepath.Join(dir, "sallyport")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "./cmd/sallyport")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build sallyport: %w\n%s", err, out)
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("these tests need root: they run clients and servers in a network namespace of their own")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"unshare", "--net", "--mount", "--propagation", "private", self}, os.Args[1:]...)
	return syscall.Exec(unshare, args, append(os.Environ(), inNamespace+"="+binary))
}

// furnish gives the namespace its network, its hosts file, and an /etc/docker
// and /etc/containers that nobody else sees.
func furnish() error {
	hosts := filepath.Join(filepath.Dir(binary), "hosts")
	text := "127.0.0.1 localhost\n::1 localhost\n" + registryIP + " " + registryName + "\n"
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		return err
	}
	for _, dir := range []string{"/etc/docker", "/etc/containers"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, command := range []string{
		"ip link set lo up",
		"ip address add " + registryIP + "/32 dev lo",
		"mount --bind " + hosts + " /etc/hosts",
		"mount -t tmpfs tmpfs /etc/docker",
		"mount -t tmpfs tmpfs /etc/containers",
	} {
		words := strings.Fields(command)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, out)
		}
	}
	return os.WriteFile("/etc/containers/policy.json", []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644)
}
