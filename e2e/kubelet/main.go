// Command kubelet is what a kubelet does to pull an image, by the kubelet's own
// code: it asks the API server for the pod's token, calls credential providers,
// caches what they answer, and hands that to containerd. It is a module of its
// own, which only make test-all builds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	internalapi "k8s.io/cri-api/pkg/apis"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	criclient "k8s.io/cri-client/pkg"
	"k8s.io/kubernetes/pkg/credentialprovider/plugin"
	"k8s.io/kubernetes/pkg/kubelet/token"
)

// A request is one line of standard input: an image of a pod's. With Pull it is
// pulled, with the credentials that are given or else with those of the providers.
type request struct {
	Namespace, Pod, UID, ServiceAccount, Image string
	Pull                                       bool
	Credentials                                []credential
}

type credential struct{ Username, Password string }

// An answer is one line of standard output.
type answer struct {
	Credentials []credential // what the providers gave
	Ref         string       // what was pulled
	Error       string
}

func main() {
	config := flag.String("image-credential-provider-config", "", "the `file` that names the credential providers")
	bin := flag.String("image-credential-provider-bin-dir", "", "where they are")
	runtime := flag.String("container-runtime-endpoint", "", "containerd's socket")
	var api rest.Config
	flag.StringVar(&api.Host, "server", "", "URL of the API server")
	flag.StringVar(&api.CAFile, "ca-file", "", "who vouches for it")
	flag.StringVar(&api.CertFile, "cert-file", "", "the node's certificate")
	flag.StringVar(&api.KeyFile, "key-file", "", "its key")
	flag.Parse()
	if err := serve(context.Background(), &api, *config, *bin, *runtime); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, api *rest.Config, config, bin, runtime string) error {
	kube, err := kubernetes.NewForConfig(api)
	if err != nil {
		return err
	}
	account := func(namespace, name string) (*corev1.ServiceAccount, error) {
		return kube.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	// As pkg/kubelet/kubelet.go and kuberuntime_manager.go do it.
	if err := plugin.RegisterCredentialProviderPlugins(config, bin, token.NewManager(kube).GetServiceAccountToken, account); err != nil {
		return err
	}
	images, err := criclient.NewRemoteImageServiceBuilder().WithEndpoint(runtime).WithConnectionTimeout(time.Minute).Build(ctx)
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var r request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := out.Encode(r.serve(ctx, images)); err != nil {
			return err
		}
	}
}

func (r request) serve(ctx context.Context, images internalapi.ImageManagerService) answer {
	var a answer
	if len(r.Credentials) == 0 {
		found, _ := plugin.NewExternalCredentialProviderDockerKeyring(r.Namespace, r.Pod, r.UID, r.ServiceAccount).Lookup(r.Image)
		for _, c := range found {
			a.Credentials = append(a.Credentials, credential{c.Username, c.Password})
		}
		r.Credentials = a.Credentials
	}
	if !r.Pull {
		return a
	}
	// As PullImage of kuberuntime_image.go: one after the other, or as a stranger.
	auths := []*cri.AuthConfig{nil}
	if len(r.Credentials) > 0 {
		auths = nil
	}
	for _, c := range r.Credentials {
		auths = append(auths, &cri.AuthConfig{Username: c.Username, Password: c.Password})
	}
	var errs []error
	for _, auth := range auths {
		ref, err := images.PullImage(ctx, &cri.ImageSpec{Image: r.Image}, auth, nil)
		if err == nil {
			a.Ref = ref
			return a
		}
		errs = append(errs, err)
	}
	a.Error = errors.Join(errs...).Error()
	return a
}
