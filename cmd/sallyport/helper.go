package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/client/ambient"
	"github.com/sallyport/sallyport/internal/credential"
)

func newHelper() *cobra.Command {
	return family("helper", "Let docker, podman and others use this tool's logins", newHelperInstall(), newHelperRemove())
}

func newHelperInstall() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install [HOST...]",
		Short: "Make docker and others ask this tool for the credentials of a registry",
		Long: `Make docker and others ask this tool for the credentials of a registry.

Links to this program are made: docker-credential-sallyport and, for the kubelet,
sallyport-credential-provider. For each HOST[:PORT] the configuration of docker
then names the first under "credHelpers"; all else in it stays. podman, skopeo,
crane, oras, regctl, helm and cosign read the same file. For podman's own one,
name it: --config ~/.config/containers/auth.json

With --ambient the environment's own identity is shown to these registries where
nobody logged in: the ID token of a CI job, the service account of a pod, the
machine's of a cloud. It is shown to no other registry.`,
		Example: `  sallyport helper install
  sallyport helper install registry.example.com localhost:5000
  sallyport helper install registry.example.com --dir ~/.local/bin
  sallyport helper install registry.example.com --config ~/.config/containers/auth.json
  sallyport helper install registry.example.com --ambient=github`,
		Args: arguments(cobra.ArbitraryArgs),
	}
	at := addPlaces(cmd)
	identity := cmd.Flags().String("ambient", "", "show these registries the environment's identity: auto, "+strings.Join(ambient.Names, ", ")+", env:VARIABLE or file:PATH")
	cmd.Flags().Lookup("ambient").NoOptDefVal = ambient.Auto
	caFile := cmd.Flags().String("ca-file", "", "with --ambient: PEM file with a CA to trust for these registries")
	cmd.RunE = func(cmd *cobra.Command, hosts []string) error {
		if err := checkHosts(cmd, hosts); err != nil {
			return err
		}
		if err := setAmbient(cmd, hosts, *identity, *caFile); err != nil {
			return err
		}
		p, err := at()
		if err != nil {
			return err
		}
		if err := errors.Join(os.MkdirAll(p.dir, 0o755), credential.Link(p.binary, p.dir)); err != nil {
			return hintedError{err, "name a directory on PATH that you may write to: --dir ~/.local/bin"}
		}
		if err := result(cmd, "linked %s in %s", credential.HelperName, p.dir); err != nil {
			return err
		}
		if found, err := exec.LookPath(credential.HelperName); err != nil || filepath.Dir(found) != p.dir {
			say(cmd, "docker finds helpers on PATH, and there it does not find this one: put %s in front", p.dir)
		}
		if len(hosts) == 0 {
			return nil
		}
		left, err := credential.Use(p.config, hosts)
		if err != nil {
			return err
		}
		for _, host := range left {
			say(cmd, "%s still holds a secret for %s, which is not used any more: run docker logout before the next login, or remove it by hand", p.config, host)
		}
		for _, host := range hosts {
			if err := result(cmd, "%s asks it for %s", p.config, host); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func newHelperRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove [HOST...]",
		Short: "Take back what helper install did, for some registries or for all",
		Long: `Take back what "sallyport helper install" did: for the named registries the lines
of docker's configuration, or without names all of them and the links. Logins
stay: see "sallyport logout".`,
		Example: `  sallyport helper remove registry.example.com
  sallyport helper remove`,
		Args: arguments(cobra.ArbitraryArgs),
	}
	at := addPlaces(cmd)
	cmd.RunE = func(cmd *cobra.Command, hosts []string) error {
		if err := checkHosts(cmd, hosts); err != nil {
			return err
		}
		p, err := at()
		if err != nil {
			return err
		}
		if err := credential.Leave(p.config, hosts); err != nil {
			return err
		}
		if err := forgetAmbient(hosts); err != nil {
			return err
		}
		if len(hosts) > 0 {
			return result(cmd, "%s no longer asks for %s", p.config, words(hosts))
		}
		if err := credential.Unlink(p.binary, p.dir); err != nil {
			return err
		}
		return result(cmd, "%s no longer asks; the links in %s are removed", p.config, p.dir)
	}
	return cmd
}

// places are what install and remove work on.
type places struct{ binary, dir, config string }

func addPlaces(cmd *cobra.Command) func() (places, error) {
	dir := cmd.Flags().String("dir", "", "directory for the links, on PATH (default that of this program)")
	config := cmd.Flags().String("config", "", "the file to change (default docker's config.json)")
	return func() (places, error) {
		p := places{dir: *dir, config: *config}
		binary, err := os.Executable()
		if err == nil {
			p.binary, err = filepath.EvalSymlinks(binary)
		}
		if err != nil {
			return p, fmt.Errorf("find this program: %w", err)
		}
		if p.dir == "" {
			p.dir = filepath.Dir(p.binary)
		}
		if p.dir, err = filepath.Abs(p.dir); err != nil {
			return p, err
		}
		if p.config == "" {
			p.config, err = credential.DockerConfig()
		}
		return p, err
	}
}

// setAmbient has the environment's identity shown to hosts.
func setAmbient(cmd *cobra.Command, hosts []string, identity, caFile string) error {
	switch {
	case identity == "" && caFile == "":
		return nil
	case identity == "" || len(hosts) == 0:
		return usage(cmd, errors.New("--ambient is for the registries that are named, and --ca-file goes with it"))
	}
	if err := ambient.Check(identity); err != nil {
		return usage(cmd, err)
	}
	ca, err := credential.ReadCA(caFile)
	if err != nil {
		return err
	}
	store, err := client.NewStore()
	for _, host := range hosts {
		if err == nil {
			err = store.SetAmbient(host, &client.Ambient{Identity: identity, CA: ca})
		}
	}
	return err
}

// forgetAmbient takes that back; without hosts for all.
func forgetAmbient(hosts []string) error {
	store, err := client.NewStore()
	if err != nil {
		return err
	}
	known, err := store.AmbientHosts()
	for _, host := range known {
		if err == nil && (len(hosts) == 0 || slices.Contains(hosts, host)) {
			err = store.SetAmbient(host, nil)
		}
	}
	return err
}

func checkHosts(cmd *cobra.Command, hosts []string) error {
	for _, host := range hosts {
		if _, err := client.ServerOf(host); err != nil {
			return usage(cmd, err)
		}
	}
	return nil
}
