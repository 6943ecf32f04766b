package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

// TestKubernetes: what docs/kubernetes.md shows, in a cluster with a real API
// server: the kubelet's own code gets tokens of pods, has the provider exchange
// them or passes them on, and containerd pulls with that.
func TestKubernetes(t *testing.T) {
	if os.Getenv("SALLYPORT_TEST_ALL") == "" {
		t.Skip("kube-apiserver and etcd are in make test-all")
	}
	y := newYard(t)
	watch := watchProcesses(t)
	t.Run("keys", y.keys)
	t.Run("audience", y.audience)
	t.Run("exchange", y.exchange)
	t.Run("short life", y.short)
	t.Run("pass through", y.passThrough)
	t.Run("no provider", y.noProvider)
	t.Run("node identity", y.nodeIdentity)
	t.Run("token review", y.tokenReview)
	var all []string
	for _, s := range y.secrets {
		all = append(all, s)
		if parts := strings.Split(s, "."); len(parts) == 3 {
			all = append(all, parts[2]) // a log could cut it
		}
	}
	if len(all) < 20 {
		t.Errorf("only %d secrets to look for", len(all))
	}
	if found := search(t, y.dirs, all...); len(found) > 0 {
		t.Errorf("tokens are in clear in %q", found)
	}
	if seen := watch(all...); len(seen) > 0 {
		t.Errorf("tokens are in the arguments of %q", seen)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", y.server.Process.Pid))
	must(t, err)
	t.Logf("kube-apiserver: ready after %s, %s", y.took.Round(100*time.Millisecond), regexp.MustCompile(`VmHWM:\s+\d+ kB`).Find(status))
}

func (y *yard) admin() run {
	return run{Env: []string{"XDG_CONFIG_HOME=" + filepath.Join(y.s.Dir, "cli-admin")}}
}

// keys: a stranger may not read the cluster's keys until that is allowed.
func (y *yard) keys(t *testing.T) {
	definition := strings.Replace(y.shown(t, "preset: kubernetes"), "-----BEGIN CERTIFICATE-----", indented(string(ft.PEM(y.ca))), 1)
	y.s.CLI(definition, "issuer", "add", "-")
	if out := y.admin().fails(t, binary, "issuer", "check", "cluster"); !strings.Contains(out, "403") || !strings.Contains(out, "system:service-account-issuer-discovery") {
		t.Errorf("issuer check before that says %s", out)
	}
	y.apply(y.shown(t, "name: sallyport-issuer-discovery"))
	// By discovery, as where the issuer's name can be reached.
	discovery := strings.NewReplacer("jwks: {url: \"https://"+clusterName+"/openid/v1/jwks\"}\n", "", "issuer:\n", "issuer:\n  discoveryURL: https://"+clusterName+"/.well-known/openid-configuration\n",
		"allowPrivateAddresses: [", "allowPrivateAddresses: ["+clusterIP+", ").Replace(definition)
	for _, text := range []string{discovery, definition} {
		y.s.CLI(text, "issuer", "add", "-", "--replace")
		y.s.CLI("", "issuer", "check", "cluster")
	}
}

// audience: the node gets no token for the registry until that is allowed, which
// it can be for some service accounts.
func (y *yard) audience(t *testing.T) {
	web, other := y.pod("prod", "first", "web", y.image["prod/app"]), y.pod("prod", "second", "other", y.image["prod/app"])
	k, role := y.node(t), y.shown(t, "request-serviceaccounts-token-audience")
	gets := func(p pod) bool { return y.secret(k.credential(p, y.image["prod/app"]).Password) != "" }
	if gets(web) {
		t.Error("the node got a token for an audience that it was not allowed")
	}
	y.apply(strings.NewReplacer("name: sallyport-audience", "name: narrow", "  verbs:", "  resourceNames: [web]\n  verbs:").Replace(role))
	until(t, "the node gets a token", func() bool { return gets(web) })
	if gets(other) {
		t.Error("the node got a token of a service account that it was not allowed")
	}
	y.apply(role)
	until(t, "the node gets another token", func() bool { return gets(other) })
}

// exchange: the provider exchanges the pod's token for an identity token, which
// the kubelet keeps for the service account and for this registry.
func (y *yard) exchange(t *testing.T) {
	k := y.node(t)
	web, again, other, staging := y.pod("prod", "web-0", "web", y.image["prod/app"]), y.pod("prod", "web-1", "web", y.image["prod/app"]),
		y.pod("prod", "other", "other", y.image["prod/app"]), y.pod("staging", "web", "web", y.image["staging/app"])
	y.wantPull(k, web, "prod/app")
	first := k.credential(web, y.image["prod/app"])
	if first.Username == "" || strings.Count(first.Password, ".") == 2 {
		t.Errorf("the user is %q, or the password is a JWT", first.Username)
	}
	for name, c := range map[string]credential{
		"the same again": k.credential(web, y.image["prod/app"]), "another image": k.credential(web, y.image["prod/tool"]),
		"another pod of the account": k.credential(again, y.image["prod/app"]),
	} {
		if c != first {
			t.Errorf("the provider was called for %s", name)
		}
	}
	if c := k.credential(other, y.image["prod/app"]); c.Password == "" || c == first {
		t.Error("another service account shares the credential or has none")
	}
	y.wantPull(k, again, "prod/tool")
	y.wantNoPull(k, web, "staging/app")
	y.wantNoPull(k, other, "prod/app")
	y.wantNoPull(k, staging, "prod/app")
	y.wantNoPull(k, staging, "staging/app")
	static := web
	static.ServiceAccount = ""
	for name, c := range map[string]credential{
		"a static pod": k.credential(static, y.image["prod/app"]), "a pod that is not there": k.credential(pod{"prod", "none", "none", "other"}, y.image["prod/app"]),
		"another registry": k.credential(web, "docker.io/library/busybox:1"), "another port": k.credential(web, "registry.sallyport.test/prod/app:v1"),
	} {
		if c != (credential{}) {
			t.Errorf("there is a credential for %s", name)
		}
	}
	y.wantNoPull(k, static, "prod/app")
}

// short: the kubelet asks for tokens of an hour, which cannot be changed.
func (y *yard) short(t *testing.T) {
	definition := y.s.CLI("", "issuer", "show", "cluster")
	y.s.CLI(strings.Replace(definition, "parameters:", "parameters:\n  life: 10m", 1), "issuer", "add", "-", "--replace")
	p, k := y.pod("prod", "web-2", "web", y.image["prod/app"]), y.node(t)
	if c := k.credential(p, y.image["prod/app"]); c != (credential{}) || !strings.Contains(k.Log(), "token is not accepted here") {
		t.Errorf("the kubelet says %s", k.Log())
	}
	y.s.CLI(definition[strings.Index(definition, "\n")+1:], "issuer", "add", "-", "--replace")
}

// passThrough: the pod's token is the password itself.
func (y *yard) passThrough(t *testing.T) {
	k := y.node(t, "cacheType: ServiceAccount", "cacheType: Token\n    optionalServiceAccountAnnotationKeys: [reg.test/team]", `args: [`, `args: ["--pass-through", `)
	web, other := y.pod("prod", "web-3", "web", y.image["prod/app"]), y.pod("prod", "other-3", "other", y.image["prod/app"])
	y.wantPull(k, web, "prod/app")
	y.wantNoPull(k, other, "prod/app")
	if c := k.credential(web, y.image["prod/app"]); strings.Count(c.Password, ".") != 2 {
		t.Errorf("the password is no JWT")
	}
	// The kubelet refuses that where it may not be kept by token.
	wrong := y.node(t, `args: [`, `args: ["--pass-through", `)
	if c := wrong.credential(web, y.image["prod/app"]); c != (credential{}) || !strings.Contains(wrong.Log(), "not set to 'Token'") {
		t.Errorf("the kubelet says %s", wrong.Log())
	}
}

// noProvider: whoever pulls shows the pod's token as the password.
func (y *yard) noProvider(t *testing.T) {
	k := y.node(t)
	web, other := y.pod("prod", "web-4", "web", y.image["prod/app"]), y.pod("prod", "other-4", "other", y.image["prod/app"])
	y.wantPull(k, web, "prod/app", credential{"sa", y.token(web, audience)})
	y.wantPull(k, web, "prod/app", credential{"sa", y.token(pod{Namespace: "prod", ServiceAccount: "web"}, audience)}) // of no pod
	y.wantNoPull(k, other, "prod/app", credential{"sa", y.token(other, audience)})
	for _, wrong := range []string{"other.example", clusterIssuer, "https://" + audience} {
		y.wantNoPull(k, web, "prod/app", credential{"sa", y.token(web, wrong)}) // F-05
	}
}

// nodeIdentity: the node shows who it is; what that gives is kept as long as it
// lives, less half a minute.
func (y *yard) nodeIdentity(t *testing.T) {
	issuer, file := ft.NewIssuer(t), filepath.Join(t.TempDir(), "node.token")
	y.s.CLI("name: nodes\nissuer:\n  url: "+issuer.URL+"\n  audiences: ["+y.s.Host+"]\n  certificateAuthority: |\n    "+indented(issuer.CA)+
		"\nallowPrivateAddresses: [127.0.0.1]\nclaimMappings:\n  username: {claim: sub, prefix: \"\"}\n", "issuer", "add", "-")
	y.s.CLI(y.shown(t, "version: 2")+"- {name: nodes-pull, subjects: [{issuer: \""+issuer.URL+"\", name: node-1}], repositories: [\"nodes/**\"], actions: [pull]}\n",
		"policy", "apply", "-", "--base", "latest")
	life := func(d time.Duration) {
		ft.Write(t, file, []byte(y.secret(issuer.Token(t, time.Now(), d, y.s.Host, map[string]any{"sub": "node-1"}))))
	}
	whole := y.shown(t, "kind: CredentialProviderConfig")
	k := y.node(t, whole[strings.Index(whole, "  tokenAttributes:"):], "", `args: [`, `args: ["--node-identity", "file:`+file+`", `)
	static := pod{Namespace: "kube-system", Pod: "static", UID: "static"}
	life(20 * time.Second) // nothing is left to keep it for
	y.wantPull(k, static, "nodes/pause")
	if k.credential(static, y.image["nodes/pause"]) == k.credential(static, y.image["nodes/pause"]) {
		t.Error("it was kept for longer than it lives")
	}
	life(35 * time.Second)
	first := k.credential(static, y.image["nodes/pause"])
	y.secret(first.Password)
	if k.credential(static, y.image["prod/app"]) != first {
		t.Error("it was not kept for the registry")
	}
	y.wantNoPull(k, static, "prod/app")
	life(time.Hour)
	until(t, "the credential ends before defaultCacheDuration", func() bool {
		return y.secret(k.credential(static, y.image["nodes/pause"]).Password) != first.Password
	})
	y.wantPull(k, static, "nodes/pause")
}

// tokenReview: the registry is in the cluster and asks the API server whose a
// token is, so one ends with its pod and with its service account.
func (y *yard) tokenReview(t *testing.T) {
	mount := t.TempDir() + "/"
	ft.Write(t, mount+"ca.crt", ft.PEM(y.ca))
	ft.Write(t, mount+"token", []byte(y.cluster.token(pod{Namespace: "registry", ServiceAccount: "sallyport"}, clusterIssuer)))
	page, err := os.ReadFile("../docs/federation.md")
	must(t, err)
	shown := regexp.MustCompile("(?s)```yaml\n# file\n([^`]*kubernetes-in-cluster.*?)```").FindStringSubmatch(string(page))
	y.s.CLI("", "issuer", "remove", "cluster")
	ft.Write(t, y.issuers, []byte(strings.Replace(shown[1], `review: "true"`, `review: "true", mount: "`+mount+`"`, 1)))
	until(t, "the file is taken over", func() bool { return strings.Contains(y.s.CLI("", "issuer", "list"), "kubernetes-in-cluster") })
	if out := y.admin().fails(t, binary, "issuer", "check", "cluster"); !strings.Contains(out, "system:auth-delegator") {
		t.Errorf("issuer check before the role is bound says %s", out)
	}
	y.apply(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: sallyport-reviews}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, namespace: registry, name: sallyport}]
`)
	until(t, "the registry may ask", func() bool { _, _, err := y.admin().try(t, binary, "issuer", "check", "cluster"); return err == nil })
	y.ends(t)
}

// ends: F-25. What the API server said of a token counts for half a minute.
func (y *yard) ends(t *testing.T) {
	through := y.node(t, "cacheType: ServiceAccount", "cacheType: Token", `args: [`, `args: ["--pass-through", `)
	web, fresh, last := y.pod("prod", "web-5", "web", y.image["prod/app"]), y.pod("prod", "web-6", "web", y.image["prod/app"]), y.pod("prod", "web-7", "web", y.image["prod/app"])
	seen, unseen, orphan := credential{"sa", y.token(web, audience)}, credential{"sa", y.token(fresh, audience)}, credential{"sa", y.token(last, audience)}
	y.wantPull(through, web, "prod/app")
	y.wantPull(through, web, "prod/app", seen)
	y.wantNoPull(through, web, "staging/app", seen)
	y.wantNoPull(through, web, "prod/app", credential{"sa", y.token(web, clusterIssuer)})
	exchange := y.node(t)
	if c := exchange.credential(last, y.image["prod/app"]); c != (credential{}) || !strings.Contains(exchange.Log(), "--pass-through") {
		t.Errorf("the kubelet says %s", exchange.Log())
	}
	y.remove("/api/v1/namespaces/prod/pods/web-5")
	y.remove("/api/v1/namespaces/prod/pods/web-6")
	y.wantNoPull(through, fresh, "prod/app", unseen)
	began := time.Now()
	until(t, "the token of a deleted pod ends", func() bool { return y.pulls(through, web, "prod/app", seen).Error != "" })
	t.Logf("the token of a deleted pod that was known ended %s later", time.Since(began).Round(time.Second))
	y.remove("/api/v1/namespaces/prod/serviceaccounts/web")
	y.account("prod", "web") // F-24: another one
	y.wantNoPull(through, last, "prod/app", orphan)
	y.wantPull(through, y.pod("prod", "web-8", "web", y.image["prod/app"]), "prod/app")
}
