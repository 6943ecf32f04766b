package registrytest

import (
	"slices"

	"github.com/sallyport/sallyport/internal/oci"
)

var listScenarios = []scenario{
	{"R-15 tags in byte order, page by page", func(p *player) {
		repo := p.repo("app")
		want := []oci.Tag{"0.1.2", "0.1.20", "0.1.3", "Latest", "_x", "latest", "latest-2", "v1"}
		shuffled := []oci.Tag{"latest-2", "v1", "0.1.20", "_x", "0.1.2", "Latest", "0.1.3", "latest"}
		p.putImage(repo, shuffled...)
		p.tags(repo, want...)
		var paged []oci.Tag
		for after := oci.Tag(""); ; after = paged[len(paged)-1] {
			page, err := collect(p.Tags(p.ctx, repo, after), 1)
			p.ok(err, "list tags")
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
		}
		if !slices.Equal(paged, want) {
			p.Fatalf("pages give %q, want %q", paged, want)
		}
	}},
	{"tags after a name that is no tag", func(p *player) {
		repo := p.repo("app")
		p.putImage(repo, "a", "c")
		got, err := collect(p.Tags(p.ctx, repo, "b"), everything)
		p.ok(err, "list tags")
		if !slices.Equal(got, []oci.Tag{"c"}) {
			p.Fatalf("tags after b are %q", got)
		}
	}},
	{"tags of no repository, and of one without", func(p *player) {
		_, err := collect(p.Tags(p.ctx, p.repo("none"), ""), everything)
		p.fails(err, oci.NameUnknown, "list tags")
		p.upload(p.repo("app"), random(9))
		p.tags(p.repo("app"))
	}},
	{"D-16 repositories in byte order, by prefix, page by page", func(p *player) {
		want := []oci.RepoName{p.repo("a"), p.repo("a-b"), p.repo("a/b"), p.repo("a_b"), p.repo("axb"), p.repo("b")}
		for _, i := range []int{3, 0, 5, 2, 4, 1} {
			p.upload(want[i], random(9))
		}
		scope := p.scope + "/"
		var paged []oci.RepoName
		for after := oci.RepoName(""); ; after = paged[len(paged)-1] {
			page, err := collect(p.Repositories(p.ctx, after, scope), 2)
			p.ok(err, "list repositories")
			if paged = append(paged, page...); len(page) < 2 {
				break
			}
		}
		if !slices.Equal(paged, want) {
			p.Fatalf("pages give %q, want %q", paged, want)
		}
		for prefix, want := range map[string][]oci.RepoName{
			"a_": want[3:4], "a/": want[2:3], "a": want[:5], "b": want[5:], "%": nil, "c": nil,
		} {
			got, err := collect(p.Repositories(p.ctx, "", scope+prefix), everything)
			p.ok(err, "list repositories")
			if !slices.Equal(got, want) {
				p.Fatalf("repositories with prefix %q are %q, want %q", prefix, got, want)
			}
		}
	}},
	{"an upload alone makes no repository", func(p *player) {
		p.start(p.repo("app"))
		got, err := collect(p.Repositories(p.ctx, "", p.scope+"/"), everything)
		p.ok(err, "list repositories")
		if len(got) != 0 {
			p.Fatalf("repositories are %q", got)
		}
	}},
}
