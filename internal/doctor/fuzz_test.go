package doctor_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/doctor"
)

// withPasswords are files of every form, with a password in each place where
// clients keep one, and tokens where the name belongs. NAME stands for any name.
var withPasswords = []struct{ path, text string }{
	{"/root/.docker/config.json", `{"auths":{"NAME":{"auth":"` + pair("NAME") + `","username":"NAME","password":"` + canary + `","identitytoken":"` + canary + `","registrytoken":"` + canary + `"}},"credHelpers":{"NAME":"NAME"},"credsStore":"NAME","proxies":{"NAME":{"httpProxy":"http://NAME:` + canary + `@NAME"}},"HttpHeaders":{"NAME":"` + canary + `"}}`},
	{"/root/.dockercfg", `{"NAME":{"auth":"` + pair("NAME") + `","email":"NAME"},"token.test":{"auth":"` + b64(canary+":x-oauth-basic") + `","username":"` + canary + `"}}`},
	{"/etc/containerd/config.d/1.toml", "[plugins.\"NAME\".registry.configs.\"NAME\".auth]\nusername=\"" + canary + "\"\npassword=\"x\"\n"},
	{"/root/.config/containers/auth.json", `{"auths":{"NAME":{"auth":"` + b64(canary) + `"}}}`},
	{"/root/.config/helm/repositories.yaml", "repositories:\n- name: \"NAME\"\n  url: \"https://NAME:" + canary + "@NAME\"\n  username: \"" + canary + "\"\n  password: \"" + canary + "\"\n  insecure_skip_tls_verify: true\n"},
	{"/root/.regctl/config.json", `{"hosts":{"NAME":{"tls":"insecure","user":"` + canary + `","pass":"` + canary + `","token":"` + canary + `","clientKey":"` + canary + `","credHelper":"NAME"}}}`},
	{"/root/.kube/config", "users:\n- name: \"NAME\"\n  user: {username: \"" + canary + "\", password: \"" + canary + "\", token: \"" + canary + "\", client-key-data: \"" + canary + "\"}\n"},
	{"/root/.config/sallyport/login.json", `{"servers":{"https://NAME":{"username":"NAME","realm":"https://NAME/token","service":"NAME","identityToken":"` + canary + `"}}}`},
	{"/etc/containerd/config.toml", "imports=['config.d/*']\n[plugins.\"NAME\".registry.configs.\"NAME\".auth]\nusername=\"NAME\"\npassword=\"" + canary + "\"\nidentitytoken=\"" + canary + "\"\n[plugins.\"NAME\".registry.configs.\"NAME\".tls]\ninsecure_skip_verify=true\n"},
	{"/etc/containerd/certs.d/NAME/hosts.toml", "server=\"https://NAME:" + canary + "@NAME\"\nskip_verify=true\n[host.\"https://NAME:" + canary + "@NAME\"]\nskip_verify=true\n[host.\"https://NAME:" + canary + "@NAME\".header]\nauthorization=\"Basic " + pair("NAME") + "\"\nx-NAME-token=[\"" + canary + "\"]\n"},
	{"/etc/docker/certs.d/NAME/client.key", canary},
	{"/etc/docker/daemon.json", `{"insecure-registries":["https://NAME:` + canary + `@NAME"],"registry-mirrors":["http://NAME:` + canary + `@NAME"]}`},
	{"/etc/containers/registries.conf", "[[registry]]\nlocation=\"https://NAME:" + canary + "@NAME\"\ninsecure=true\n"},
	{"/etc/rancher/k3s/registries.yaml", "configs:\n  \"NAME\":\n    auth: {username: \"NAME\", password: \"" + canary + "\"}\nmirrors:\n  \"NAME\": {endpoint: [\"http://NAME:" + canary + "@NAME\"]}\n"},
	{"/etc/cp.json", `{"providers":[{"name":"NAME","args":["--token=` + canary + `"],"env":[{"name":"NAME_TOKEN","value":"` + canary + `"}]}]}`},
}

// FuzzNoSecretShown: whatever the names are, and however the files are damaged,
// no password that stands in them is shown (L-01), nothing that could play with a
// terminal is left in the order of a report's lines, and the examination ends.
func FuzzNoSecretShown(f *testing.F) {
	f.Add("reg.test:5000", uint16(0), byte(0))
	f.Add("\x1b[31m", uint16(7), byte(1))
	f.Add("-rf", uint16(40), byte('"'))
	f.Add("https://u:p@h/", uint16(60), byte('@'))
	f.Add("' || x #", uint16(100), byte('\n'))
	f.Fuzz(func(t *testing.T, name string, at uint16, damage byte) {
		if strings.Contains(name, "canary") {
			t.Skip()
		}
		root := t.TempDir()
		quoted, err := json.Marshal(name)
		must(t, err)
		inText := string(quoted[1 : len(quoted)-1])
		inPath := strings.Map(func(r rune) rune {
			if r == '/' || r == 0 {
				return '_'
			}
			return r
		}, name)
		if inPath == "" || len(inPath) > 200 || strings.Trim(inPath, ".") == "" {
			inPath = "x"
		}
		must(t, os.MkdirAll(root+"/etc/default", 0o755))
		must(t, os.WriteFile(root+"/etc/default/kubelet", []byte("--image-credential-provider-config=/etc/cp.json --image-credential-provider-bin-dir=/bin"), 0o600))
		for _, w := range withPasswords {
			text := []byte(strings.ReplaceAll(w.text, "NAME", inText))
			// Without its "@", what was a password is part of a name.
			if i := int(at) % len(text); text[i] != '@' {
				text[i] ^= damage
			}
			path := root + strings.ReplaceAll(w.path, "NAME", inPath)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, text, 0o644))
		}
		r, err := doctor.Examine(context.Background(), doctor.Options{Root: root, Now: func() time.Time { return now }})
		must(t, err)
		if len(r.Findings) == 0 {
			t.Error("nothing was found")
		}
		showsNothing(t, r)
	})
}
