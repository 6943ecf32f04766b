package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/doctor"
)

// TestEnds: whoever writes the files does not say how much is read. The
// examination ends, and tells that it did not see everything (C-12).
func TestEnds(t *testing.T) {
	empty := func(m machine, dir string, n int) machine {
		for i := range n {
			m[fmt.Sprintf("%s/%d", dir, i)] = ""
		}
		return m
	}
	list := func(format string, n int) string {
		var out strings.Builder
		for i := range n {
			fmt.Fprintf(&out, format, i)
		}
		return out.String()
	}
	many := machine{"/etc/containerd/config.toml": "imports=[" + list("'/d/%d/*',", 6) + "]"}
	for i := range 6 {
		empty(many, fmt.Sprint("/d/", i), 900)
	}
	linked := empty(machine{"/etc/containerd/config.toml": "imports=[" + list("'/l%d/*',", 100) + "]"}, "/d", 1000)
	for i := range 100 {
		linked[fmt.Sprint("/l", i)] = "->/d"
	}
	for name, c := range map[string]struct {
		files machine
		want  string
		most  int // files
	}{
		"too many files": {many, "examination-cut ROOT/", 5001},
		"the same again": {empty(machine{"/etc/containerd/config.toml": "imports=[" + strings.Repeat("'/d/*',", 100) + "]"}, "/d", 1000), "", 1001},
		"over links":     {linked, "examination-cut ROOT/", 1001},
		"bytes":          {machine{"/etc/docker/certs.d/r/": ""}, "examination-cut ROOT/", 17},
		"imports":        {machine{"/etc/containerd/config.toml": "imports=[" + list("'/d/%d',", 101) + "]"}, "examination-cut /etc/containerd/config.toml", 1},
		"config_path":    {machine{"/etc/containerd/config.toml": "[plugins.cri.registry]\nconfig_path='" + list("/d/%d:", 101) + "'"}, "examination-cut /etc/containerd/config.toml", 1},
		"hosts_dir":      {machine{"/etc/nerdctl/nerdctl.toml": "hosts_dir=[" + list("'/d/%d',", 101) + "]"}, "examination-cut /etc/nerdctl/nerdctl.toml", 1},
		"kubelet flags":  {machine{"/etc/default/kubelet": list(" --image-credential-provider-config=/d/%d", 101)}, "examination-cut /etc/default/kubelet", 0},
		"deep":           {machine{"/root/.docker/config.json": "->" + strings.Repeat("../docker/", 65), "/root/docker/": ""}, "file-damaged /root/.docker/config.json", 0},
		"no cut":         {machine{"/etc/containerd/config.toml": "imports=[" + list("'/d/%d',", 100) + "]"}, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			root := c.files.build(t)
			if name == "bytes" {
				for i := range 20 {
					at := fmt.Sprintf("%s/etc/docker/certs.d/r/%d.key", root, i)
					must(t, os.WriteFile(at, nil, 0o600))
					must(t, os.Truncate(at, 4<<20))
				}
			}
			got, r := examine(t, doctor.Options{Root: root})
			if want := strings.ReplaceAll(c.want, "ROOT", root); want != "" && !slices.Contains(got, want) || want == "" && len(got) != 0 {
				t.Errorf("found %.300q, want %s", got, want)
			}
			if r.Files > c.most {
				t.Errorf("%d files were read", r.Files)
			}
		})
	}
}

// TestCancelled: who does not wait any more gets no half report.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := doctor.Examine(ctx, doctor.Options{Root: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}
