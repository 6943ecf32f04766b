// Package schemas proves what docs shows of Kubernetes' objects against the Go types
// of their APIs. It is a module of its own, which only make test-all builds.
package schemas

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	workflow "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	helm "github.com/fluxcd/helm-controller/api/v2"
	source "github.com/fluxcd/source-controller/api/v1"
	tekton "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubelet "k8s.io/kubelet/config/v1"
	"knative.dev/pkg/apis"
	strict "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// kinds are the types of what the pages show; nil: its API is not a module that can
// be used here, and the page says that it is not checked.
var kinds = map[string]func() any{
	"v1 ServiceAccount":                                 func() any { return &core.ServiceAccount{} },
	"v1 Secret":                                         func() any { return &core.Secret{} },
	"rbac.authorization.k8s.io/v1 Role":                 func() any { return &rbac.Role{} },
	"rbac.authorization.k8s.io/v1 RoleBinding":          func() any { return &rbac.RoleBinding{} },
	"rbac.authorization.k8s.io/v1 ClusterRole":          func() any { return &rbac.ClusterRole{} },
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding":   func() any { return &rbac.ClusterRoleBinding{} },
	"batch/v1 CronJob":                                  func() any { return &batch.CronJob{} },
	"kubelet.config.k8s.io/v1 CredentialProviderConfig": func() any { return &kubelet.CredentialProviderConfig{} },
	"tekton.dev/v1 Task":                                func() any { return &tekton.Task{} },
	"tekton.dev/v1 TaskRun":                             func() any { return &tekton.TaskRun{} },
	"argoproj.io/v1alpha1 Workflow":                     func() any { return &workflow.Workflow{} },
	"source.toolkit.fluxcd.io/v1 OCIRepository":         func() any { return &source.OCIRepository{} },
	"helm.toolkit.fluxcd.io/v2 HelmRelease":             func() any { return &helm.HelmRelease{} },
	"argoproj.io/v1alpha1 Application":                  nil,
	"node.eks.aws/v1alpha1 NodeConfig":                  nil,
}

var block = regexp.MustCompile("(?ms)^```yaml[^\n]*\n(.*?)^```$")

// TestSchemas: the objects have no field that their types do not know, none of
// another type, and what validates itself is valid.
func TestSchemas(t *testing.T) {
	pages, err := filepath.Glob("../../docs/recipes/*.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]int{}
	for _, page := range append(pages, "../../docs/kubernetes.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range block.FindAllSubmatch(text, -1) {
			for document := range bytes.SplitSeq(found[1], []byte("\n---\n")) {
				var head struct{ APIVersion, Kind string }
				if err := yaml.Unmarshal(document, &head); err != nil || head.APIVersion == "" {
					continue // of the registry, or of a CI system
				}
				name := head.APIVersion + " " + head.Kind
				fresh, known := kinds[name]
				switch {
				case !known:
					t.Errorf("%s: what is a %s?", page, name)
				case fresh != nil:
					checked[name]++
					check(t, page+": "+name, document, fresh())
				case !strings.Contains(string(text), "not** checked") && !strings.Contains(string(text), "not checked"):
					t.Errorf("%s does not say that the %s is not checked", page, name)
				}
			}
		}
	}
	for name, f := range kinds {
		if f != nil && checked[name] == 0 {
			t.Errorf("no page shows a %s", name)
		}
	}
}

func check(t *testing.T, what string, document []byte, into any) {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	unknown, err := strict.UnmarshalStrict(text, into)
	if err != nil || len(unknown) > 0 {
		t.Errorf("%s: %v %v", what, err, unknown)
		return
	}
	ctx := context.Background()
	if o, ok := into.(meta.Object); ok && o.GetGenerateName() != "" {
		o.SetName(o.GetGenerateName() + "1") // as the API server does
	}
	if d, ok := into.(apis.Defaultable); ok {
		d.SetDefaults(ctx)
	}
	if v, ok := into.(apis.Validatable); ok {
		if err := v.Validate(ctx); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
