package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

// object is one of Kubernetes' objects.
type object map[string]any

// objects reads the documents of a file, which are whole objects.
func (c *cook) objects(file string) map[string]object {
	c.t.Helper()
	loader, err := yaml.NewLoader(strings.NewReader(c.blocks[file]))
	must(c.t, err)
	out := map[string]object{}
	for {
		var o object
		if err := loader.Load(&o); err == io.EOF {
			return out
		} else if err != nil {
			c.t.Fatalf("%s: %v", file, err)
		}
		if o["apiVersion"] == nil || o["kind"] == nil {
			c.t.Errorf("%s: %v is no object", file, o)
		}
		out[o["kind"].(string)] = o
	}
}

// at goes into an object by names, and by 0 into lists.
func at(o any, path ...string) any {
	for _, name := range path {
		switch v := o.(type) {
		case object:
			o = v[name]
		case map[string]any:
			o = v[name]
		case []any:
			o = v[0]
		}
	}
	return o
}

// container is what runs in a pod.
type container struct {
	Script, Source string
	Args           []string
	Env            []struct{ Name, Value string }
	VolumeMounts   []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

func (c *cook) container(o any, path ...string) container {
	c.t.Helper()
	b, err := yaml.Dump(at(o, path...))
	must(c.t, err)
	var out container
	must(c.t, yaml.Load(b, &out))
	if out.VolumeMounts[0].MountPath != "/var/run/secrets/sallyport" {
		c.t.Errorf("the token is at %v", out.VolumeMounts)
	}
	return out
}

func (o container) env(parameters ...string) []string {
	var out []string
	for _, one := range o.Env {
		out = append(out, one.Name+"="+strings.NewReplacer(parameters...).Replace(one.Value))
	}
	return out
}

const podToken = "/var/run/secrets/sallyport/token"

// checkProjection: the pod's token is for the registry and no longer than the
// definition lets it be.
func (c *cook) checkProjection(volume any) {
	c.t.Helper()
	source := at(volume, "projected", "sources", "0", "serviceAccountToken")
	if at(source, "audience") != c.s.Host || at(source, "path") != "token" || at(source, "expirationSeconds") != 600 {
		c.t.Errorf("the volume is %v", source)
	}
}

func cookSteps(t *testing.T, c *cook) {
	const cluster = "https://build-cluster.example.com"
	tekton, argo := c.objects("task.yaml"), c.objects("workflow.yaml")
	c.checkProjection(at(tekton["Task"], "spec", "volumes", "0"))
	c.checkProjection(at(argo["Workflow"], "spec", "volumes", "0"))
	step := c.container(tekton["Task"], "spec", "steps", "0")
	template := c.container(argo["Workflow"], "spec", "templates", "0", "script")
	if at(tekton["TaskRun"], "spec", "serviceAccountName") != "publisher" || at(argo["Workflow"], "spec", "serviceAccountName") != "publisher" {
		t.Error("the steps are not the publisher's")
	}
	image, _ := at(tekton["Task"], "spec", "params", "0", "default").(string)
	for name, one := range map[string]struct {
		script string
		env    []string
	}{"tekton": {step.Script, step.env("$(params.image)", image)}, "argo": {template.Source, template.env()}} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			shellcheck(t, name, one.script)
			if strings.Contains(one.script, "$(params") || strings.Contains(one.script, "{{") {
				t.Error("a parameter is put into the script")
			}
			c.place("/tekton/home/.keep", "")
			c.place(podToken, c.pod(cluster, "ci", "publisher"))
			c.does(c.home, one.script, one.env...)
			c.place(podToken, c.pod(cluster, "ci", "default"))
			c.fails(denied, c.home, one.script, one.env...)
			c.place(podToken, c.pod(cluster, "prod", "publisher"))
			c.fails(refused, c.home, one.script, one.env...)
		})
	}
}

func cookKubernetes(t *testing.T, c *cook) {
	config := c.objects("config.yaml")["CredentialProviderConfig"]
	c.objects("node-config.yaml")
	provider := at(config, "providers", "0")
	if at(provider, "tokenAttributes", "serviceAccountTokenAudience") != c.s.Host || at(provider, "matchImages", "0") != c.s.Host {
		t.Errorf("the provider is %v", provider)
	}
	must(t, os.Symlink(binary, filepath.Join(c.home, "sallyport")))
	c.place(filepath.Join(c.home, "config.yaml"), c.blocks["config.yaml"])
	c.does(c.home, c.blocks["node"])
	args := []string{"/var/lib/rancher/credentialprovider/bin/" + at(provider, "name").(string)}
	for _, arg := range at(provider, "args").([]any) {
		args = append(args, arg.(string))
	}
	ref := c.s.Host + "/prod/app:1"
	call := func(token string) (string, error) {
		c.place(filepath.Join(c.home, "request"), `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"`+ref+`","serviceAccountToken":"`+token+`"}`)
		return c.sh(c.home, strings.Join(args, " ")+" <request")
	}
	pull := func(answer string) (string, error) {
		var response struct {
			Auth map[string]struct{ Username, Password string }
		}
		must(t, json.Unmarshal([]byte(answer), &response))
		with := response.Auth[c.s.Host]
		return c.sh(c.home, `ctr content fetch --tlscacert "$SSL_CERT_FILE" --user "$LOGIN" `+ref, "LOGIN="+with.Username+":"+with.Password)
	}
	for name := range strings.FieldsSeq("eks gke aks k3s") {
		var definition struct{ Parameters map[string]string }
		must(t, yaml.Load([]byte(c.blocks[name+".yaml"]), &definition))
		t.Run(name, func(t *testing.T) {
			issuer := definition.Parameters["issuer"]
			answer, err := call(c.pod(issuer, "my-namespace", "my-serviceaccount"))
			if err != nil {
				t.Fatalf("%v\n%s", err, answer)
			}
			if out, err := pull(answer); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			answer, err = call(c.pod(issuer, "my-namespace", "default"))
			if err != nil {
				t.Fatalf("%v\n%s", err, answer)
			}
			if out, err := pull(answer); err == nil || !strings.Contains(out, "403") && !strings.Contains(out, "denied") {
				t.Errorf("another account pulls: %v\n%s", err, out)
			}
			if out, err := call(c.pod(issuer, "kube-system", "my-serviceaccount")); err == nil {
				t.Errorf("another namespace: %s", out)
			}
		})
	}
}

// renewal runs the CronJob of a pull secret with the token of a service account.
func (c *cook) renewal(secret, token string) (string, error) {
	c.t.Helper()
	page := &cook{desk: c.desk, recipe: c.k.recipes["pull-secret"]} // other recipes use it
	all := page.objects("pull-secret.yaml")
	pod := []string{"spec", "jobTemplate", "spec", "template", "spec"}
	c.checkProjection(at(all["CronJob"], append(pod, "volumes", "0")...))
	renew := c.container(all["CronJob"], append(pod, "containers", "0")...)
	c.place(podToken, token)
	shellcheck(c.t, "the CronJob", renew.Args[0])
	return c.sh(c.home, renew.Args[0], append(renew.env(), "SECRET="+secret)...)
}

// renew is renewal with the stand-in for kubectl. It returns what the Secret gets.
func (c *cook) renew(secret, token string) (map[string]string, string, error) {
	c.t.Helper()
	patch := filepath.Join(c.home, "secret-"+secret)
	os.Remove(patch)
	out, err := c.renewal(secret, token)
	if err != nil {
		if _, missing := os.Stat(patch); missing == nil {
			c.t.Error("the Secret was changed all the same")
		}
		return nil, out, err
	}
	text, err := os.ReadFile(patch)
	must(c.t, err)
	var made struct{ StringData map[string]string }
	must(c.t, json.Unmarshal(text, &made))
	if strings.Contains(string(text), token) {
		c.t.Error("the Secret holds the token of the service account")
	}
	c.place(filepath.Join(c.home, "pull", "config.json"), made.StringData[".dockerconfigjson"])
	return made.StringData, out, nil
}

func (c *cook) pulling() string { return "DOCKER_CONFIG=" + filepath.Join(c.home, "pull") }

func cookPullSecret(t *testing.T, c *cook) {
	const cluster = "https://cluster.example.com"
	all := c.objects("pull-secret.yaml")
	if rules := at(all["Role"], "rules", "0"); at(rules, "resourceNames", "0") != at(all["Secret"], "metadata", "name") || len(at(rules, "verbs").([]any)) != 2 {
		t.Errorf("the Role gives %v", rules)
	}
	if _, out, err := c.renew("registry", c.pod(cluster, "prod", "registry-puller")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ref := c.s.Host + "/prod/app:1"
	c.does(c.home, "crane digest "+ref, c.pulling())
	c.fails(denied, c.home, "crane push image "+ref+"-evil", c.pulling())
	if _, out, err := c.renew("registry", c.pod(cluster, "prod", "default")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.fails(denied, c.home, "crane manifest "+ref, c.pulling())
	if _, out, err := c.renew("registry", c.pod(cluster, "dev", "registry-puller")); err == nil || !strings.Contains(out, "400") && !strings.Contains(out, "401") {
		t.Errorf("another namespace: %v\n%s", err, out)
	} else {
		t.Log(out)
	}
}

func cookCharts(t *testing.T, c *cook) {
	const cluster = "https://deploy-cluster.example.com"
	flux, argo := c.objects("flux.yaml"), c.objects("argocd.yaml")
	charts := strings.TrimPrefix(at(flux["OCIRepository"], "spec", "url").(string), "oci://")
	if charts != at(argo["Secret"], "stringData", "url").(string)+"/app" || at(argo["Application"], "spec", "source", "repoURL") != at(argo["Secret"], "stringData", "url") {
		t.Errorf("Flux pulls %s, Argo CD %v", charts, at(argo["Secret"], "stringData"))
	}
	if os.Getenv("SALLYPORT_TEST_ALL") != "" {
		c.does(c.home, `helm create app && helm package app
printf %s "$PASSWORD" | helm registry login --ca-file "$SSL_CERT_FILE" --username admin --password-stdin `+c.s.Host+`
helm push --ca-file "$SSL_CERT_FILE" app-0.1.0.tgz oci://`+strings.TrimSuffix(charts, "/app")+`
rm app-0.1.0.tgz; helm registry logout `+c.s.Host, "PASSWORD="+adminPassword)
	}
	for namespace, secret := range map[string]string{"flux-system": at(flux["OCIRepository"], "spec", "secretRef", "name").(string), "argocd": at(argo["Secret"], "metadata", "name").(string)} {
		t.Run(namespace, func(t *testing.T) {
			c.t = t
			made, out, err := c.renew(secret, c.pod(cluster, namespace, "registry-puller"))
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			c.does(c.home, "oras manifest fetch "+charts+":0.1.0", c.pulling())
			c.does(c.home, `printf %s "$PASSWORD" | oras login --registry-config argo.json --username "$NAME" --password-stdin `+c.s.Host, "NAME="+made["username"], "PASSWORD="+made["password"])
			c.fails(denied, c.home, "oras manifest fetch "+c.s.Host+"/prod/app:1", c.pulling())
			c.fails(denied, c.home, "crane push image "+charts+":evil", c.pulling())
			if os.Getenv("SALLYPORT_TEST_ALL") != "" {
				c.does(c.home, "helm pull --ca-file \"$SSL_CERT_FILE\" --registry-config pull/config.json --version 0.1.0 oci://"+charts+" && rm app-0.1.0.tgz")
			}
			if _, out, err := c.renew(secret, c.pod(cluster, "prod", "registry-puller")); err == nil {
				t.Errorf("another namespace: %s", out)
			}
		})
	}
}

func cookPodman(t *testing.T, c *cook) {
	svid := func(sub string) {
		c.place("/run/spiffe/registry.jwt", c.token("spiffe", claims{"sub": sub}))
	}
	pull := "unset REGISTRY_AUTH_FILE DOCKER_CONFIG\n" + c.blocks["pull"] // the tests' own
	c.does(c.home, "mkdir -p ~/.config/containers")
	c.does(c.home, c.blocks["setup"])
	svid("spiffe://prod.example.org/machine/web")
	c.does(c.home, pull)
	if !strings.Contains(c.blocks["web.container"], "Image="+c.s.Host+"/prod/web:1\n") {
		t.Error("the unit runs another image")
	}
	c.does(c.home, "podman rmi --all --force")
	svid("spiffe://prod.example.org/machine/db")
	c.fails(denied, c.home, pull)
	svid("spiffe://other.example.org/machine/web")
	c.fails(refused, c.home, pull)
	must(t, os.Remove(c.rooted("/run/spiffe/registry.jwt")))
	c.fails(regexp.MustCompile("no such file or directory"), c.home, pull)
	if found, err := filepath.Glob(filepath.Join(c.home, ".config/sallyport/*")); err != nil || len(search(t, found, "eyJ")) > 0 {
		t.Errorf("%q hold a token, %v", found, err)
	}
}

// metadata stands for Google's metadata server.
func (c *cook) metadata(change claims) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Query().Get("format") != "full" || !strings.HasSuffix(r.URL.Path, "/default/identity") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Metadata-Flavor", "Google")
		io.WriteString(w, c.tokenFor(r.URL.Query().Get("audience"), "google", change))
	}))
	c.t.Cleanup(s.Close)
	return "GCE_METADATA_HOST=" + strings.TrimPrefix(s.URL, "http://")
}

func cookContainerd(t *testing.T, c *cook) {
	ours := c.metadata(nil)
	c.does(c.home, "unset DOCKER_CONFIG\n"+c.blocks["setup"], ours)
	pull := "unset REGISTRY_AUTH_FILE DOCKER_CONFIG\n" + c.blocks["pull"] // the tests' own
	c.does(c.home, pull+"ctr images list --quiet | grep -Fx "+c.s.Host+"/prod/app:1", ours)
	must(t, os.Remove(filepath.Join(c.home, "app.tar")))
	c.fails(denied, c.home, strings.ReplaceAll(pull, "/prod/app:1", "/other/app:1"), ours)
	theirs := c.metadata(claims{"google": map[string]any{"compute_engine": map[string]any{"project_id": "my-project", "project_number": 1}}})
	c.fails(refused, c.home, pull, theirs)

	hosts := filepath.Join(c.home, "certs.d", c.s.Host, "hosts.toml")
	c.place(hosts, strings.ReplaceAll(c.blocks["hosts.toml"], "/etc/sallyport/ca.pem", c.k.ca))
	c.does(c.home, `ctr content fetch --hosts-dir certs.d --user "job:$TOKEN" `+c.s.Host+"/prod/app:1", "TOKEN="+c.token("google", nil))
}

func cookAirGap(t *testing.T, c *cook) {
	const cluster = "https://gap.example.com"
	admin := `printf %s "$PASSWORD" | skopeo login --username admin --password-stdin ` + c.s.Host
	c.does(c.home, admin+"\n"+c.blocks["out"]+c.blocks["in"]+"skopeo logout "+c.s.Host, "PASSWORD="+adminPassword)
	ref := c.s.Host + "/mirror/library/app:1"
	login := `printf %s "$TOKEN" | skopeo login --username pod --password-stdin ` + c.s.Host
	web := "TOKEN=" + c.pod(cluster, "prod", "web")
	c.does(c.home, login+"\nskopeo inspect --raw docker://"+ref, web)
	c.fails(denied, c.home, "skopeo copy oci:image:v1 docker://"+ref, web)
	c.does(c.home, login, "TOKEN="+c.pod(cluster, "prod", "default"))
	c.fails(denied, c.home, "skopeo inspect docker://"+ref)
	theirs := *c.k
	theirs.issuer = ft.NewIssuer(t) // has other keys
	c.k = &theirs
	c.fails(refused, c.home, login, "TOKEN="+c.pod(cluster, "prod", "web"))
}
