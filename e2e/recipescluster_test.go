package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kubectlOfPod is what kubectl patch sends as the service account of its pod.
const kubectlOfPod = `#!/bin/sh
set -eu
[ "$1 $2 $4" = "patch secret --patch-file" ]
send() { curl --silent --show-error --fail-with-body --cacert "$HOME/cluster.pem" --header "@$HOME/account" "$@"; }
send "%[1]s/secrets/$3" >/dev/null
send --request PATCH --header "Content-Type: application/strategic-merge-patch+json" --data-binary "@$5" "%[1]s/secrets/$3" >/dev/null
`

// TestRecipesInCluster: a real API server takes the objects of a pull secret, its
// token renews it, and its account may do that and no more.
func TestRecipesInCluster(t *testing.T) {
	if os.Getenv("SALLYPORT_TEST_ALL") == "" {
		t.Skip("kube-apiserver and etcd are in make test-all")
	}
	cluster, k := newCluster(t), newKitchen(t)
	c := k.cook(t, "pull-secret")
	resp, err := cluster.client.Get(cluster.url() + "/openid/v1/jwks")
	must(t, err)
	defer resp.Body.Close()
	keys, err := io.ReadAll(resp.Body)
	must(t, err)
	theirs := func(text string) string {
		return strings.ReplaceAll(text, "https://cluster.example.com", clusterIssuer)
	}
	k.s.CLI(theirs(c.blocks["issuer.yaml"])+"jwks:\n  keys: '"+string(keys)+"'\n", "issuer", "add", "-", "--replace")
	k.s.CLI(theirs(k.s.CLI("", "policy", "show")), "policy", "apply", "-", "--base", "latest")

	const namespace = "/api/v1/namespaces/prod"
	cluster.create("/api/v1/namespaces", "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n")
	groups := map[string]string{"ServiceAccount": namespace + "/serviceaccounts", "Secret": namespace + "/secrets", "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/prod/roles",
		"RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/prod/rolebindings", "CronJob": "/apis/batch/v1/namespaces/prod/cronjobs"}
	for _, object := range strings.Split(c.blocks["pull-secret.yaml"], "\n---\n") {
		kind, _, _ := strings.Cut(object[strings.Index(object, "kind: ")+len("kind: "):], "\n")
		cluster.create(groups[kind]+"?fieldValidation=Strict", object)
	}
	cluster.create(namespace+"/secrets", "apiVersion: v1\nkind: Secret\nmetadata: {name: other}\n")

	token := func(audience string) string { return cluster.tenMinutes("prod", "registry-puller", audience) }
	ca, err := os.ReadFile(cluster.file("ca.crt"))
	must(t, err)
	c.place(filepath.Join(c.home, "cluster.pem"), string(ca))
	c.place(filepath.Join(c.home, "account"), "Authorization: Bearer "+token(clusterIssuer)+"\n")
	must(t, os.WriteFile(filepath.Join(k.bin, "kubectl"), fmt.Appendf(nil, kubectlOfPod, cluster.url()+namespace), 0o755))

	if out, err := c.renewal("registry", token(c.s.Host)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	status, answer := cluster.call("GET", namespace+"/secrets/registry", "")
	var secret struct{ Data map[string][]byte }
	if err := json.Unmarshal(answer, &secret); status != http.StatusOK || err != nil {
		t.Fatalf("the Secret: %d %v", status, err)
	}
	c.place(filepath.Join(c.home, "pull", "config.json"), string(secret.Data[".dockerconfigjson"]))
	c.does(c.home, "crane digest "+c.s.Host+"/prod/app:1", c.pulling())
	c.fails(denied, c.home, "crane manifest "+c.s.Host+"/other/app:1", c.pulling())

	if out, err := c.renewal("other", token(c.s.Host)); err == nil || !strings.Contains(out, "403") {
		t.Errorf("the account changes another Secret: %v\n%s", err, out)
	}
	if out, err := c.renewal("registry", token(clusterIssuer)); err == nil || !strings.Contains(out, "this issuer's token is not accepted here") {
		t.Errorf("a token for the API server: %v\n%s", err, out)
	}
}

// tenMinutes is a token of a service account as the recipes' pods get it.
func (c *cluster) tenMinutes(namespace, account, audience string) string {
	c.t.Helper()
	status, answer := c.call("POST", "/api/v1/namespaces/"+namespace+"/serviceaccounts/"+account+"/token",
		fmt.Sprintf("apiVersion: authentication.k8s.io/v1\nkind: TokenRequest\nspec: {audiences: [%q], expirationSeconds: 600}\n", audience))
	var made struct{ Status struct{ Token string } }
	if err := json.Unmarshal(answer, &made); status != http.StatusCreated || err != nil {
		c.t.Fatalf("TokenRequest: %d %v\n%s", status, err, answer)
	}
	return made.Status.Token
}
