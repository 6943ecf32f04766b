// Package kubelet proves the credential provider against the kubelet's own code.
// It is a module of its own, which only make test-all builds.
package kubelet

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubelet/pkg/apis/credentialprovider/v1"
)

// TestTypes: the provider takes the request that the kubelet's types write, and
// what it answers is, strictly, of its types.
func TestTypes(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sallyport-credential-provider")
	build := exec.Command("go", "build", "-o", binary, "./cmd/sallyport")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const token = "e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln" // it ends in 2100
	request, err := json.Marshal(v1.CredentialProviderRequest{
		TypeMeta:                  metav1.TypeMeta{APIVersion: v1.SchemeGroupVersion.String(), Kind: "CredentialProviderRequest"},
		Image:                     "reg.test:5000/team/app:1",
		ServiceAccountToken:       token,
		ServiceAccountAnnotations: map[string]string{"reg.test/role": "puller"},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--registry", "reg.test:5000", "--pass-through")
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r v1.CredentialProviderResponse
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if r.APIVersion != v1.SchemeGroupVersion.String() || r.Kind != "CredentialProviderResponse" || r.CacheKeyType != v1.RegistryPluginCacheKeyType ||
		r.CacheDuration == nil || r.CacheDuration.Duration != 24*time.Hour-30*time.Second ||
		r.Auth["reg.test:5000"].Username == "" || r.Auth["reg.test:5000"].Password != token {
		t.Errorf("answered %s", out)
	}
}
