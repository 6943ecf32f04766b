package doctor_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/doctor"
)

// canary is in every secret that a test makes; no output may have it.
const canary = "canary-5e1f"

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// pair is what stands in "auth".
func pair(user string) string { return b64(user + ":" + canary) }

// jwt is a token from outside that says so and nothing more.
func jwt(claims string) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + e.EncodeToString([]byte(claims)) + "." + e.EncodeToString([]byte(canary))
}

// made makes a secret of ours.
func made(t testing.TB, f access.SecretForm) string {
	t.Helper()
	s, err := f.New(rand.NewChaCha8([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	return s.Reveal()
}

// A machine is a tree of files: path → text. A path that ends in "/" is a
// directory; a text that begins with "->" is a symbolic link.
type machine map[string]string

// A note begins a text with the mode of a file.
var modeNote = regexp.MustCompile(`^mode ([0-7]{3,4})\n`)

// build makes the files, 0600 in directories of 0755, where no mode says else.
func (m machine) build(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	must(t, os.Chmod(root, 0o755))
	must(t, os.Chmod(filepath.Dir(root), 0o755))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		text, mode := m[name], fs.FileMode(0o600)
		at := root + name
		if note := modeNote.FindStringSubmatch(text); note != nil {
			text = text[len(note[0]):]
			_, err := fmt.Sscanf(note[1], "%o", &mode)
			must(t, err)
		}
		if dir, ok := strings.CutSuffix(at, "/"); ok {
			must(t, os.MkdirAll(dir, 0o755))
			if mode != 0o600 {
				must(t, os.Chmod(dir, mode))
			}
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		if to, ok := strings.CutPrefix(text, "->"); ok {
			must(t, os.Symlink(to, at))
			continue
		}
		must(t, os.WriteFile(at, []byte(text), 0o600))
		must(t, os.Chmod(at, mode))
	}
	return root
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// told are the kinds that some test found.
var told = map[doctor.ID]bool{}

// examine returns the findings as lines "ID PLACE ENTRY", in the order of the
// report, and fails when a secret is shown.
func examine(t testing.TB, o doctor.Options) ([]string, doctor.Report) {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return now }
	}
	r, err := doctor.Examine(context.Background(), o)
	must(t, err)
	var out []string
	for _, f := range r.Findings {
		told[f.ID] = true
		out = append(out, strings.TrimRight(fmt.Sprintf("%s %s %s", f.ID, f.Place, f.Entry), " "))
	}
	showsNothing(t, r)
	return out, r
}

// showsNothing fails when a report has a canary, or a secret of ours, in whatever
// form (L-01).
func showsNothing(t testing.TB, r doctor.Report) {
	t.Helper()
	text, err := json.Marshal(r)
	must(t, err)
	for _, secret := range []string{canary, b64(canary)[:12], b64("x" + canary)[4:12], b64("xx" + canary)[4:12], "sallyport_key_", "sallyport_idt_"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%q is shown:\n%s", secret, text)
		}
	}
}

// TestFiles: what each client's files are found to hold.
func TestFiles(t *testing.T) {
	key, idt := made(t, access.KeySecret), made(t, access.RefreshSecret)
	for name, c := range map[string]struct {
		files machine
		want  []string
	}{
		"nothing": {machine{"/home/alice/": ""}, nil},
		"docker": {machine{"/home/alice/.docker/config.json": `{"auths":{
			"password.test":{"auth":"` + pair("alice") + `"},
			"key.test":{"auth":"` + b64("ci:"+key) + `"},
			"identity.test":{"auth":"` + b64("alice:") + `","identitytoken":"` + idt + `"},
			"other.test":{"auth":"` + b64("alice:") + `","identitytoken":"` + canary + `"},
			"half.test":{"identitytoken":"` + idt + `"},
			"bearer.test":{"registrytoken":"` + canary + `"},
			"odd.test":{"auth":"` + canary + `"},
			"helped.test":{"auth":"` + pair("alice") + `"}, "empty.test":{}},
			"credHelpers":{"helped.test":"pass"},
			"proxies":{"default":{"httpProxy":"http://u:` + canary + `@proxy.test"}}}`}, []string{
			"password-stored /home/alice/.docker/config.json helped.test",
			"password-stored /home/alice/.docker/config.json odd.test",
			"password-stored /home/alice/.docker/config.json password.test",
			"bearer-stored /home/alice/.docker/config.json bearer.test",
			"helper-bypassed /home/alice/.docker/config.json helped.test",
			"key-stored /home/alice/.docker/config.json key.test",
			"stray-secret /home/alice/.docker/config.json proxies.default.httpProxy",
			"entry-damaged /home/alice/.docker/config.json half.test",
			"entry-damaged /home/alice/.docker/config.json odd.test",
			"identity-stored /home/alice/.docker/config.json half.test",
			"identity-stored /home/alice/.docker/config.json identity.test",
			"identity-stored /home/alice/.docker/config.json other.test",
		}},
		"tokens from outside": {machine{"/home/alice/.dockercfg": `{
			"a":{"auth":"` + b64("github:"+jwt(`{"iss":"https://token.actions.githubusercontent.com","exp":1795867200}`)) + `"},
			"b":{"auth":"` + b64("k8s:"+jwt(`{"exp":1795953700}`)) + `"},
			"c":{"auth":"` + b64("k8s:"+jwt(`{"iss":"kubernetes/serviceaccount"}`)) + `"},
			"d":{"auth":"` + b64("k8s:"+jwt(`{"exp":1795867300}`)) + `"},
			"e":{"auth":"` + b64("k8s:"+jwt(`{"exp":1e300}`)) + `"},
			"f":{"auth":"` + b64("k8s:"+jwt(`{"exp":"soon"}`)) + `"}}`}, []string{
			"token-endless /home/alice/.dockercfg c", "token-endless /home/alice/.dockercfg f",
			"token-lasting /home/alice/.dockercfg b", "token-lasting /home/alice/.dockercfg e",
			"token-expired /home/alice/.dockercfg a", "token-stored /home/alice/.dockercfg d",
		}},
		"docker daemon": {machine{"/etc/docker/daemon.json": `{"insecure-registries":["reg.test:5000","127.0.0.0/8","10.0.0.0/8","localhost:5000"],"registry-mirrors":["http://mirror.test","https://mirror.test"]}`}, []string{
			"insecure-registry /etc/docker/daemon.json 10.0.0.0/8",
			"insecure-registry /etc/docker/daemon.json http://mirror.test",
			"insecure-registry /etc/docker/daemon.json reg.test:5000",
			"insecure-loopback /etc/docker/daemon.json 127.0.0.0/8",
			"insecure-loopback /etc/docker/daemon.json localhost:5000",
		}},
		"certs.d": {machine{"/etc/docker/certs.d/reg.test/client.key": "mode 0644\n" + canary, "/etc/docker/certs.d/reg.test/ca.crt": "mode 0644\n" + expiredCA(t), "/etc/containers/certs.d/reg.test/ca.crt": "none"}, []string{
			"file-readable /etc/docker/certs.d/reg.test/client.key",
			"file-damaged /etc/containers/certs.d/reg.test/ca.crt",
			"ca-expired /etc/docker/certs.d/reg.test/ca.crt Old CA",
		}},
		"podman": {machine{
			"/home/alice/.config/containers/auth.json": `{"auths":{"reg.test/team":{"auth":"` + pair("alice") + `"}}}`,
			"/etc/containers/registries.conf":          "unqualified-search-registries=['docker.io']\n[[registry]]\nprefix='a.test'\nlocation='b.test'\ninsecure=true\n[[registry.mirror]]\nlocation='m.test'\ninsecure=true\n",
			"/etc/containers/registries.conf.d/1.conf": "[registries.insecure]\nregistries=['old.test']\n",
			"/etc/containers/registries.conf.d/2.conf": "[[registry]]\nlocation = " + canary,
		}, []string{
			"insecure-registry /etc/containers/registries.conf b.test",
			"insecure-registry /etc/containers/registries.conf m.test",
			"insecure-registry /etc/containers/registries.conf.d/1.conf old.test",
			"password-stored /home/alice/.config/containers/auth.json reg.test/team",
			"file-damaged /etc/containers/registries.conf.d/2.conf",
		}},
		"containerd": {machine{
			"/etc/containerd/config.toml": "imports=['conf.d/*.toml']\n[plugins.'io.containerd.grpc.v1.cri'.registry.configs.'reg.test'.auth]\nusername='alice'\npassword='" + canary + "'\n" +
				"[plugins.'io.containerd.grpc.v1.cri'.registry.configs.'reg.test'.tls]\ninsecure_skip_verify=true\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint=['http://mirror.test']\n",
			"/etc/containerd/conf.d/1.toml": "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path='/etc/containerd/more.d'\n[plugins.'io.containerd.cri.v1.images'.registry.configs.'auth.test'.auth]\nauth='" + pair("bob") + "'\n",
			"/etc/containerd/more.d/reg.test/hosts.toml": "server='https://reg.test'\nskip_verify=true\n[host.'http://plain.test']\n[host.'https://head.test'.header]\nAuthorization=['Basic " + pair("carol") + "']\nX-Token='" + canary + "'\nx-meta='fine'\n" +
				"[host.'https://u:" + canary + "@userinfo.test']\n[host.'https://bearer.test'.header]\nauthorization='Bearer " + canary + "'\n",
			"/etc/nerdctl/nerdctl.toml":        "insecure_registry = true\nhosts_dir=['/opt/certs.d']",
			"/opt/certs.d/opt.test/client.key": "mode 0640\n" + canary,
			"/etc/rancher/k3s/registries.yaml": "configs:\n  k3s.test:\n    auth: {username: x, password: " + canary + "}\n    tls: {insecure_skip_verify: true}\n",
		}, []string{
			"password-stored /etc/containerd/conf.d/1.toml auth.test",
			"insecure-registry /etc/containerd/config.toml http://mirror.test",
			"insecure-registry /etc/containerd/config.toml reg.test",
			"password-stored /etc/containerd/config.toml reg.test",
			"insecure-registry /etc/containerd/more.d/reg.test/hosts.toml http://plain.test",
			"password-stored /etc/containerd/more.d/reg.test/hosts.toml https://head.test",
			"insecure-registry /etc/containerd/more.d/reg.test/hosts.toml https://reg.test",
			"insecure-registry /etc/nerdctl/nerdctl.toml every registry",
			"insecure-registry /etc/rancher/k3s/registries.yaml k3s.test",
			"password-stored /etc/rancher/k3s/registries.yaml k3s.test",
			"bearer-stored /etc/containerd/more.d/reg.test/hosts.toml https://bearer.test",
			"stray-secret /etc/containerd/more.d/reg.test/hosts.toml https://head.test",
			"stray-secret /etc/containerd/more.d/reg.test/hosts.toml userinfo.test",
		}},
		"helm": {machine{
			"/home/alice/.config/helm/registry/config.json": `{"auths":{"reg.test":{"auth":"` + pair("alice") + `"}}}`,
			"/home/alice/.config/helm/repositories.yaml":    "repositories:\n- name: charts\n  url: http://charts.test\n  username: alice\n  password: " + canary + "\n",
		}, []string{
			"password-stored /home/alice/.config/helm/registry/config.json reg.test",
			"password-stored /home/alice/.config/helm/repositories.yaml charts",
			"insecure-registry /home/alice/.config/helm/repositories.yaml http://charts.test",
		}},
		"regctl": {machine{"/home/alice/.regctl/config.json": `{"hosts":{"reg.test":{"tls":"disabled","user":"alice","pass":"` + canary + `"},"id.test":{"tls":"enabled","token":"` + canary + `"}}}`}, []string{
			"insecure-registry /home/alice/.regctl/config.json reg.test",
			"password-stored /home/alice/.regctl/config.json reg.test",
			"identity-stored /home/alice/.regctl/config.json id.test",
		}},
		"kubelet": {machine{
			"/var/lib/kubelet/config.json":       `{"auths":{"reg.test":{"auth":"` + pair("puller") + `"}}}`,
			"/var/lib/kubelet/kubeadm-flags.env": `KUBELET_KUBEADM_ARGS="--image-credential-provider-config=/etc/kubernetes/cp --image-credential-provider-bin-dir /opt/bin"`,
			"/etc/kubernetes/cp/1.yaml":          "kind: CredentialProviderConfig\nproviders:\n- name: gone\n  args: [--token=" + canary + "]\n- name: here\n  env: [{name: API_KEY, value: " + canary + "}, {name: TOKEN_FILE, value: /x}]\n",
			"/opt/bin/here":                      "mode 0777\n",
		}, []string{
			"file-writable /opt/bin/here",
			"password-stored /var/lib/kubelet/config.json reg.test",
			"helper-missing /etc/kubernetes/cp/1.yaml gone",
			"stray-secret /etc/kubernetes/cp/1.yaml gone",
			"stray-secret /etc/kubernetes/cp/1.yaml here",
		}},
		"kubectl": {machine{
			"/home/alice/.kube/config":  "users:\n- name: dev\n  user: {token: " + jwt(`{"exp":1795867300}`) + "}\n- name: old\n  user: {username: admin, password: " + canary + "}\nclusters:\n- name: lab\n  cluster: {server: 'https://lab.test', insecure-skip-tls-verify: true}\n",
			"/etc/rancher/k3s/k3s.yaml": "mode 0644\nusers:\n- name: default\n  user: {client-key-data: " + canary + "}\n",
		}, []string{
			"file-readable /etc/rancher/k3s/k3s.yaml",
			"password-stored /home/alice/.kube/config old",
			"insecure-cluster /home/alice/.kube/config lab",
			"token-stored /home/alice/.kube/config dev",
		}},
		"sallyport": {machine{"/home/alice/.config/sallyport/login.json": `{"current":"https://reg.test",
			"kept":{"kept.test":{"username":"alice","secret":"` + canary + `"},"idt.test":{"username":"<token>","secret":"` + idt + `"},"keychain.test":{"username":"alice","keychain":"x"}},"servers":{
			"https://reg.test":{"username":"alice","realm":"https://reg.test/token","service":"reg.test","identityToken":"` + idt + `"},
			"https://evil.test":{"username":"alice","realm":"https://elsewhere.test/token","service":"x","identityToken":"` + idt + `"}}}`}, []string{
			"login-tampered /home/alice/.config/sallyport/login.json https://evil.test",
			"password-stored /home/alice/.config/sallyport/login.json kept.test",
			"identity-stored /home/alice/.config/sallyport/login.json https://reg.test",
			"identity-stored /home/alice/.config/sallyport/login.json idt.test",
		}},
		"names that are secrets": {machine{"/home/alice/.docker/config.json": `{"auths":{
			"https://u:` + canary + `@url.test":{"auth":"` + b64(key+":x") + `"}, "` + key + `":{"auth":"` + b64("a:x") + `"}, "x":{"auth":"` + b64(jwt(`{}`)+":x") + `"}}}`}, []string{
			"password-stored /home/alice/.docker/config.json sallyport_…",
			"password-stored /home/alice/.docker/config.json x",
			"password-stored /home/alice/.docker/config.json …@url.test",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, r := examine(t, doctor.Options{Root: c.files.build(t)})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			for _, f := range r.Findings {
				if f.Reason == "" || f.Severity == doctor.High && f.Mend == "" {
					t.Errorf("%+v says too little", f)
				}
			}
		})
	}
}

// TestExposure: who may read and change a file of root, by modes.
func TestExposure(t *testing.T) {
	if os.Getuid() != 0 {
		told["file-owner"], told["file-shielded"] = true, true
		t.Skip("only root can give files to others")
	}
	const name = "/home/alice/.docker/config.json"
	for title, c := range map[string]struct {
		dir, file  fs.FileMode
		uid, gid   int
		want, mend string
	}{
		"closed":                         {0o700, 0o600, 1000, 1000, "", ""},
		"everybody reads":                {0o755, 0o644, 1000, 1000, "file-readable", "chmod 600"},
		"a directory keeps them out":     {0o700, 0o644, 1000, 1000, "file-shielded", "chmod 600"},
		"a private group":                {0o770, 0o660, 1000, 1000, "", ""},
		"a shared group reads":           {0o755, 0o640, 1000, 100, "file-readable", "chmod 600"},
		"a shared group may not enter":   {0o700, 0o640, 1000, 100, "file-shielded", "chmod 600"},
		"root's group":                   {0o755, 0o640, 1000, 0, "", ""},
		"everybody writes":               {0o755, 0o602, 1000, 1000, "file-writable", "chmod go-w"},
		"everybody writes the directory": {0o777, 0o600, 1000, 1000, "dir-writable", "chmod go-w"},
		"a sticky directory":             {0o777 | fs.ModeSticky, 0o600, 1000, 1000, "", ""},
		"somebody else's":                {0o755, 0o600, 1001, 1000, "file-owner", "chown 1000"},
		"root's":                         {0o755, 0o600, 0, 0, "", ""},
	} {
		t.Run(title, func(t *testing.T) {
			root := machine{
				name:          `{"auths":{"reg.test":{"auth":"` + b64("alice:") + `","identitytoken":"` + canary + `"}}}`,
				"/etc/passwd": "alice:x:1000:1000::/home/alice:/bin/sh\n", "/etc/group": "alice:x:1000:\nusers:x:100:alice,bob\n",
			}.build(t)
			for _, at := range []string{"/home/alice", "/home/alice/.docker"} {
				must(t, os.Chown(root+at, 1000, c.gid))
			}
			must(t, os.Chown(root+name, c.uid, c.gid))
			must(t, os.Chmod(root+filepath.Dir(name), c.dir))
			must(t, os.Chmod(root+name, c.file))
			_, r := examine(t, doctor.Options{Root: root})
			got := ""
			for _, f := range r.Findings {
				if f.ID == "identity-stored" {
					continue
				}
				got += string(f.ID)
				if !strings.HasPrefix(f.Mend, c.mend+" "+root) {
					t.Errorf("mends with %q", f.Mend)
				}
			}
			if got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// TestLinks: a symbolic link is followed inside the tree, and whoever could
// change where it leads is found.
func TestLinks(t *testing.T) {
	config := `{"auths":{"reg.test":{"auth":"` + b64("alice:") + `","identitytoken":"` + canary + `"}}}`
	got, _ := examine(t, doctor.Options{Root: machine{
		"/home/alice/.docker":            "->/srv/open/docker",
		"/srv/open/":                     "mode 0777\n",
		"/srv/open/docker":               "->../dotfiles",
		"/srv/dotfiles/config.json":      config,
		"/home/bob/.docker":              "->loop",
		"/home/bob/loop":                 "->.docker",
		"/home/carol/.docker":            "->../../../../../../srv/dotfiles",
		"/home/dora/.docker/config.json": "->/nowhere",
	}.build(t)})
	want := []string{
		"dir-writable /srv/open", "file-damaged /home/bob/.docker/config.json",
		"file-symlink /home/alice/.docker/config.json", "identity-stored /home/alice/.docker/config.json reg.test",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// TestHostileFiles: whatever stands where a client's file belongs, the
// examination ends, and says what it could not read (C-12).
func TestHostileFiles(t *testing.T) {
	places := []string{
		"/home/alice/.docker/config.json", "/home/alice/.config/containers/auth.json", "/home/alice/.config/helm/registry/config.json",
		"/home/alice/.config/helm/repositories.yaml", "/home/alice/.regctl/config.json", "/home/alice/.kube/config", "/home/alice/.config/sallyport/login.json",
		"/etc/docker/daemon.json", "/etc/containers/registries.conf", "/etc/containerd/config.toml", "/etc/rancher/k3s/registries.yaml", "/etc/nerdctl/nerdctl.toml",
	}
	for title, put := range map[string]func(at string) error{
		"FIFO":          func(at string) error { return syscall.Mkfifo(at, 0o600) },
		"directory":     func(at string) error { return os.Mkdir(at, 0o700) },
		"device":        func(at string) error { return os.Symlink("/dev/zero", at) },
		"itself":        func(at string) error { return os.Symlink(filepath.Base(at), at) },
		"huge":          func(at string) error { return os.Truncate(at, 1<<40) },
		"deep":          func(at string) error { return os.WriteFile(at, []byte(strings.Repeat(`{"auths":`, 100_000)), 0o600) },
		"deep brackets": func(at string) error { return os.WriteFile(at, []byte("a="+strings.Repeat("[", 1<<20)), 0o600) },
		"not UTF-8":     func(at string) error { return os.WriteFile(at, []byte("\xff\xfe\x00"+canary), 0o600) },
		"aliases": func(at string) error {
			return os.WriteFile(at, []byte("a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\nusers: [*d,*d,*d,*d,*d,*d,*d,*d]\nconfigs: *d\n"), 0o600)
		},
	} {
		t.Run(title, func(t *testing.T) {
			root := t.TempDir()
			for _, name := range places {
				must(t, os.MkdirAll(filepath.Dir(root+name), 0o755))
				if title == "huge" {
					must(t, os.WriteFile(root+name, nil, 0o600))
				}
				must(t, put(root+name))
			}
			got, _ := examine(t, doctor.Options{Root: root})
			if title == "device" || title == "aliases" {
				return // the link leads to nothing inside the tree; some forms have room for aliases
			}
			for _, name := range places {
				if !slices.Contains(got, "file-damaged "+name) {
					t.Errorf("%s is not told of:\n%s", name, strings.Join(got, "\n"))
				}
			}
		})
	}
}

// TestUnread: what may not be read is told, not passed over.
func TestUnread(t *testing.T) {
	if os.Getuid() == 0 {
		told["file-unread"] = true // root reads everything
		t.Skip("root may read everything")
	}
	got, _ := examine(t, doctor.Options{Root: machine{"/home/alice/.docker/config.json": "mode 0000\n{}"}.build(t)})
	if !slices.Equal(got, []string{"file-unread /home/alice/.docker/config.json"}) {
		t.Errorf("found %q", got)
	}
}

// TestFix: modes are mended, of what is ours, and only there where it breaks
// nothing.
func TestFix(t *testing.T) {
	config := `{"auths":{"reg.test":{"auth":"` + pair("alice") + `"}}}`
	root := machine{
		"/home/alice/.docker/":                     "mode 0777\n",
		"/home/alice/.docker/config.json":          "mode 0664\n" + config,
		"/home/alice/.config/containers/auth.json": "mode 0644\n" + config,
		"/etc/docker/certs.d/reg.test/client.key":  "mode 0644\n" + canary,
	}.build(t)
	must(t, os.Link(root+"/home/alice/.config/containers/auth.json", root+"/other-name"))
	_, r := examine(t, doctor.Options{Root: root, Fix: true})
	for _, f := range r.Findings {
		if want := f.ID != "password-stored" && strings.Contains(f.Place, "/.docker"); f.Fixed != want {
			t.Errorf("%s %s: mended %t", f.ID, f.Place, f.Fixed)
		}
	}
	for name, want := range map[string]fs.FileMode{
		"/home/alice/.docker": 0o755, "/home/alice/.docker/config.json": 0o600,
		"/home/alice/.config/containers/auth.json": 0o644, "/etc/docker/certs.d/reg.test/client.key": 0o644,
	} {
		if info, err := os.Stat(root + name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %o", name, info.Mode().Perm(), want)
		}
	}
	if text, err := os.ReadFile(root + "/home/alice/.docker/config.json"); err != nil || string(text) != config {
		t.Errorf("the file has become %q, %v", text, err)
	}
	got, _ := examine(t, doctor.Options{Root: root})
	if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "file-") && strings.Contains(s, "/.docker") }) {
		t.Errorf("afterwards there is still %q", got)
	}
}
