package e2e

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/access"
	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

const recipePages = "../docs/recipes"

// A recipe is a page: its blocks, by the name that stands after their language.
type recipe struct {
	name   string
	text   string
	blocks map[string]string
}

var block = regexp.MustCompile("(?ms)^```\\w+ (\\S+)\n(.*?)^```$")

// readRecipes reads the pages, with host in place of registry.example.com.
func readRecipes(t *testing.T, host string) []recipe {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(recipePages, "*.md"))
	must(t, err)
	var out []recipe
	for _, page := range pages {
		if filepath.Base(page) == "README.md" {
			continue
		}
		b, err := os.ReadFile(page)
		must(t, err)
		r := recipe{name: strings.TrimSuffix(filepath.Base(page), ".md"), text: string(b), blocks: map[string]string{}}
		for _, found := range block.FindAllStringSubmatch(r.text, -1) {
			if r.blocks[found[1]] != "" {
				t.Errorf("%s has two blocks %q", page, found[1])
			}
			r.blocks[found[1]] = strings.NewReplacer("registry.example.com", host, "upstream.example.com", host).Replace(found[2])
		}
		out = append(out, r)
	}
	return out
}

// A kitchen is where the recipes are tried: one registry that trusts all their
// issuers and has all their rules, and one stand-in for those issuers.
type kitchen struct {
	s       *server
	e       *engines
	b       *bundle
	issuer  *ft.Issuer
	keys    string // the stand-in's, a JWKS document
	ca      string // a file: who vouches for the registry and for the stand-ins
	bin     string // sallyport and a stand-in for kubectl
	recipes map[string]recipe
	tokens  []string // that the stand-in signed
}

func newKitchen(t *testing.T) *kitchen {
	t.Helper()
	k := &kitchen{s: newServer(t, serverOptions{}), issuer: ft.NewIssuer(t), bin: t.TempDir(), recipes: map[string]recipe{}}
	k.e = startEngines(t, k.s)
	k.b = newBundle(t, k.e, 2, 64<<10)
	k.keys = k.publicKeys(t)
	ours, err := os.ReadFile(k.s.CA)
	must(t, err)
	k.ca = filepath.Join(k.bin, "ca.pem")
	must(t, os.WriteFile(k.ca, append(ours, k.issuer.CA...), 0o644))
	must(t, os.WriteFile(filepath.Join(k.bin, "keys.json"), []byte(k.keys), 0o644))
	must(t, os.Symlink(binary, filepath.Join(k.bin, "sallyport")))
	must(t, os.WriteFile(filepath.Join(k.bin, "kubectl"), []byte(kubectl), 0o755))
	for _, r := range readRecipes(t, k.s.Host) {
		k.recipes[r.name] = r
	}
	k.s.Login()
	k.trust(t)
	k.stock(t)
	return k
}

// kubectl knows what the recipes ask of it.
const kubectl = `#!/bin/sh
case "$1" in
get) [ "$2 $3" = "--raw /openid/v1/jwks" ] && cat "${0%/*}/keys.json" ;;
patch) [ "$2 $4" = "secret --patch-file" ] && cp "$5" "$HOME/secret-$3" ;;
*) exit 1 ;;
esac
`

// publicKeys asks the stand-in what it signs with.
func (k *kitchen) publicKeys(t *testing.T) string {
	t.Helper()
	file := filepath.Join(k.bin, "issuer.pem")
	must(t, os.WriteFile(file, []byte(k.issuer.CA), 0o644))
	resp, err := (&server{t: t, CA: file}).HTTP().Get(k.issuer.URL + "/keys")
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return strings.TrimSpace(string(b))
}

// trust does what each recipe tells the administrator: adds its definitions, with
// the stand-in's keys, and its rule.
func (k *kitchen) trust(t *testing.T) {
	t.Helper()
	policy := "version: 2\nrules:\n  - {name: administrators, subjects: [\"group:admins\"], repositories: [\"**\"], actions: [pull, push, delete, admin]}\n"
	for _, name := range slices.Sorted(maps.Keys(k.recipes)) {
		r := k.recipes[name]
		dir := t.TempDir()
		for file, text := range r.blocks {
			if strings.HasPrefix(text, "name: ") {
				text += "jwks:\n  keys: '" + k.keys + "'\n"
			}
			must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755))
			must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
		}
		do := run{Dir: dir, Env: []string{"PATH=" + k.bin + ":" + os.Getenv("PATH"), "XDG_CONFIG_HOME=" + filepath.Join(k.s.Dir, "cli-admin")}}
		if out, errs, err := do.try(t, "sh", "-euc", r.blocks["keys"]+r.blocks["admin"]); err != nil || r.blocks["admin"] == "" {
			t.Fatalf("%s: %v\n%s%s", name, err, out, errs)
		}
		rule, ok := strings.CutPrefix(r.blocks["rule.yaml"], "version: 2\nrules:\n")
		if _, err := access.ParsePolicy([]byte(r.blocks["rule.yaml"])); err != nil || !ok {
			t.Fatalf("%s: rule.yaml: %v", name, err)
		}
		policy += rule
	}
	k.s.CLI(policy, "policy", "apply", "-", "--base", "latest")
}

// stock pushes what the recipes pull.
func (k *kitchen) stock(t *testing.T) {
	t.Helper()
	d := newDesk(t, k.s, k.e, k.b)
	d.okWith(adminPassword, "crane", "auth", "login", "--username", "admin", "--password-stdin", k.s.Host)
	for _, ref := range []string{"prod/app:1", "prod/web:1", "library/app:1", "charts/app:0.1.0", "other/app:1"} {
		d.ok("crane", "push", k.b.layout, k.s.Host+"/"+ref)
	}
}

// A cook works through one recipe, alone on a machine.
type cook struct {
	*desk
	k *kitchen
	recipe
	env []string
}

func (k *kitchen) cook(t *testing.T, name string) *cook {
	t.Helper()
	c := &cook{desk: newDesk(t, k.s, k.e, k.b), k: k, recipe: k.recipes[name]}
	must(t, os.Symlink(k.b.layout, filepath.Join(c.home, "image")))
	must(t, os.WriteFile(filepath.Join(c.home, "storage.conf"), []byte("[storage]\ndriver = \"vfs\"\ngraphroot = \""+c.home+"/s\"\nrunroot = \""+c.home+"/r\"\n"), 0o644))
	tools, err := filepath.Abs("../.tools/bin")
	must(t, err)
	c.env = []string{
		"PATH=" + strings.Join([]string{filepath.Join(c.home, "bin"), k.bin, filepath.Dir(binary), tools, os.Getenv("PATH")}, ":"),
		"SSL_CERT_FILE=" + k.ca, "CURL_CA_BUNDLE=" + k.ca, "SALLYPORT_KEYCHAIN=none", "CONTAINERD_ADDRESS=" + k.e.containerdSocket, "CONTAINERS_STORAGE_CONF=" + filepath.Join(c.home, "storage.conf"),
	}
	return c
}

// root is where the recipe's files of the whole machine are: it has one of its own.
var root = regexp.MustCompile(`(/run/spiffe|/var/run/secrets|/var/lib/rancher|/tekton/home)/`)

// sh runs a script of the recipe in dir, as its shell does.
func (c *cook) sh(dir, script string, env ...string) (string, error) {
	c.t.Helper()
	if script == "" {
		c.t.Fatal("there is no such script")
	}
	do := c.run()
	do.Dir, do.Env = dir, append(append(do.Env, c.env...), env...)
	for i, one := range do.Env {
		if !strings.HasPrefix(one, "PATH=") {
			do.Env[i] = c.rooted(one)
		}
	}
	stdout, stderr, err := do.try(c.t, "bash", "-eo", "pipefail", "-c", c.rooted(script))
	return stdout + stderr, err
}

func (c *cook) rooted(text string) string {
	return root.ReplaceAllString(text, c.home+"/root$1/")
}

// does runs a script that must succeed.
func (c *cook) does(dir, script string, env ...string) string {
	c.t.Helper()
	out, err := c.sh(dir, script, env...)
	if err != nil {
		c.t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return out
}

// What clients say: docker, crane, oras and others what the registry says; skopeo,
// podman and containerd what they make of it.
var (
	refused = regexp.MustCompile(`this issuer's token is not accepted here|invalid username/password`)
	denied  = regexp.MustCompile(`denied: [a-z]+:\S+ |DENIED: [a-z]+:\S+ |403 \(Forbidden\)|403 Forbidden`)
)

// fails runs a script that must fail and say why.
func (c *cook) fails(why *regexp.Regexp, dir, script string, env ...string) {
	c.t.Helper()
	out, err := c.sh(dir, script, env...)
	if err == nil || !why.MatchString(out) {
		c.t.Errorf("should have failed with %s: %v\n%s\n%s", why, err, script, out)
	}
	c.t.Logf("%.300s", lastLine(out))
}

// place writes a file of the machine.
func (c *cook) place(path, text string) {
	c.t.Helper()
	path = c.rooted(path)
	must(c.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(c.t, os.WriteFile(path, []byte(text), 0o600))
}

type claims map[string]any

// token signs what an issuer documents, with changes, for the registry.
func (c *cook) token(preset string, change claims) string {
	c.t.Helper()
	return c.tokenFor(c.s.Host, preset, change)
}

func (c *cook) tokenFor(audience, preset string, change claims) string {
	c.t.Helper()
	b, err := os.ReadFile("../internal/federation/issuer/testdata/presets/" + preset + ".yaml")
	must(c.t, err)
	var fixture struct {
		ISS    string `yaml:"iss"`
		Claims claims
	}
	must(c.t, yaml.Load(b, &fixture))
	all := claims{"iss": fixture.ISS}
	maps.Copy(all, fixture.Claims)
	maps.Copy(all, change)
	all["aud"] = audience
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	token := c.k.issuer.Token(c.t, time.Now(), 5*time.Minute, audience, all)
	c.k.tokens = append(c.k.tokens, token)
	return token
}

// pod is the token of a service account.
func (c *cook) pod(issuer, namespace, account string) string {
	c.t.Helper()
	return c.token("kubernetes", claims{
		"iss": issuer, "sub": "system:serviceaccount:" + namespace + ":" + account,
		"kubernetes.io": map[string]any{
			"namespace": namespace, "serviceaccount": map[string]any{"name": account, "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
			"pod": map[string]any{"name": "p", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
		},
	})
}

// TestRecipes does what docs/recipes says: see its README.
func TestRecipes(t *testing.T) {
	k := newKitchen(t)
	done := map[string]func(*testing.T, *cook){
		"github-actions": cookGitHub, "gitlab-ci": cookGitLab, "jenkins": cookJenkins, "tekton-argo": cookSteps,
		"kubernetes": cookKubernetes, "pull-secret": cookPullSecret, "flux-argocd": cookCharts,
		"podman": cookPodman, "containerd": cookContainerd, "air-gap": cookAirGap,
	}
	for name := range k.recipes {
		if done[name] == nil {
			t.Errorf("nothing tries docs/recipes/%s.md", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(done)) {
		t.Run(name, func(t *testing.T) {
			k.tokens = nil
			watch := watchProcesses(t)
			done[name](t, k.cook(t, name))
			// There the test is the kubelet, which tells containerd by its socket.
			if seen := watch(k.tokens...); len(seen) > 0 && name != "kubernetes" && name != "containerd" {
				t.Errorf("tokens are in the arguments of %q", seen)
			}
		})
	}
	if strings.Contains(k.s.Log(), "eyJ") {
		t.Error("L-01: the log holds a token")
	}
}

// relative is a link to another page or file of ours.
var relative = regexp.MustCompile(`\]\(([^):#]+)(?:#[a-z0-9-]+)?\)`)

// TestRecipePages: every page has what its readers look for, and the index names it.
func TestRecipePages(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(recipePages, "README.md"))
	must(t, err)
	for _, r := range readRecipes(t, "registry.example.com") {
		if !strings.Contains(string(index), "("+r.name+".md)") {
			t.Errorf("the index does not name %s", r.name)
		}
		for _, part := range []string{"\n**Before**: ", "\n## When it goes wrong\n", "\n## Proved, and not\n\nRun: ", "Not run: ", "\nSource"} {
			if !strings.Contains(r.text, part) {
				t.Errorf("%s has no %q", r.name, strings.TrimSpace(part))
			}
		}
		for _, link := range relative.FindAllStringSubmatch(r.text, -1) {
			if _, err := os.Stat(filepath.Join(recipePages, link[1])); err != nil {
				t.Errorf("%s: %v", r.name, err)
			}
		}
		for name, text := range r.blocks {
			if !strings.Contains(name, ".") && name != "Jenkinsfile" { // no file
				shellcheck(t, r.name+": "+name, text)
			}
		}
		if n := strings.Count(r.text, "\n"); n > 130 {
			t.Errorf("%s has %d lines", r.name, n)
		}
	}
}

// shellcheck fails where a script is likely to be wrong.
func shellcheck(t *testing.T, name, script string) {
	t.Helper()
	check := run{Stdin: script}
	if out, errs, err := check.try(t, tool(t, "shellcheck"), "--shell", "sh", "-"); err != nil {
		t.Errorf("%s: %v\n%s%s", name, err, out, errs)
	}
}
