package access

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"
)

// errOldDocument says why a part of version 1 cannot be shown: its rules have no
// names by which to find them again.
var errOldDocument = errors.New("the policy is version 1 of the language, which has no parts: somebody who manages all of it must rewrite it as version 2")

// Show returns the policy document with only the rules and protections that lie
// wholly in p, with their comments. Other comments, above and below the document
// and its lists, can be about anything: they are for who sees all of it. Known is a policy whose conditions are compiled,
// best that of the document, or nil. The text of an error is fit for the client.
func (p Part) Show(known *Policy, document []byte) ([]byte, error) {
	pol, root, err := readDocument(document, known)
	if err != nil {
		return nil, err
	}
	if p.Whole() {
		return document, nil
	}
	inside := p.names(pol)
	uncomment(root)
	for _, n := range root.Content {
		uncomment(n)
	}
	for _, list := range statementLists(root) {
		list.Content = slices.DeleteFunc(list.Content, func(n *yaml.Node) bool { return !inside[nameOf(n)] })
	}
	return dump(root)
}

func uncomment(n *yaml.Node) { n.HeadComment, n.LineComment, n.FootComment = "", "", "" }

// Replace returns the document with the rules and protections that lie wholly
// in p replaced by those of shown, an edited copy of what Show returned. What
// is outside stays as it is and where it is. It returns what the whole means
// too. Whether shown keeps inside p is for CheckChange. Errors: as Show;
// *PolicyError for shown.
func (p Part) Replace(known *Policy, document, shown []byte) ([]byte, *Policy, error) {
	pol, root, err := readDocument(document, known)
	if err != nil {
		return nil, nil, err
	}
	part, edited, err := readDocument(shown, pol)
	if err != nil {
		return nil, nil, err
	}
	p.replace(pol, root, edited)
	whole, err := dump(root)
	if err != nil {
		return nil, nil, err
	}
	next, err := parsePolicy(whole, pol, part)
	return whole, next, err
}

// replace does it in the tree of the document that means pol.
func (p Part) replace(pol *Policy, root, edited *yaml.Node) {
	inside := p.names(pol)
	to, from := statementLists(root), statementLists(edited)
	for kind, list := range from {
		if to[kind] == nil {
			to[kind] = &yaml.Node{Kind: yaml.SequenceNode}
			root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: kind}, to[kind])
		}
		if len(to[kind].Content) == 0 {
			to[kind].Style = 0 // not "[]"
		}
		byName := make(map[string]*yaml.Node)
		for _, n := range list.Content {
			byName[nameOf(n)] = n
		}
		var out []*yaml.Node
		for _, n := range to[kind].Content {
			name := nameOf(n)
			switch {
			case !inside[name]:
				out = append(out, n)
			case byName[name] != nil:
				out = append(out, byName[name])
				delete(byName, name)
			}
		}
		for _, n := range list.Content {
			if byName[nameOf(n)] == n {
				out = append(out, n)
			}
		}
		to[kind].Content = out
	}
	for kind, list := range to {
		if from[kind] == nil {
			list.Content = slices.DeleteFunc(list.Content, func(n *yaml.Node) bool { return inside[nameOf(n)] })
		}
	}
}

// names returns the names of the rules and protections that lie in p.
func (p Part) names(pol *Policy) map[string]bool {
	out := make(map[string]bool)
	for _, s := range statementsIn(pol) {
		out[s.name] = s.inside(p)
	}
	return out
}

func readDocument(document []byte, known *Policy) (*Policy, *yaml.Node, error) {
	pol, err := known.Next(document)
	if err != nil {
		return nil, nil, err
	}
	root, problem := loadPolicy(document)
	if problem != nil {
		return nil, nil, &PolicyError{[]PolicyProblem{*problem}}
	}
	if (&policyParser{}).version(root) != "2" {
		return nil, nil, errOldDocument
	}
	return pol, root, nil
}

// statementLists returns the lists "rules" and "protections" of a document.
func statementLists(root *yaml.Node) map[string]*yaml.Node {
	out := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(root.Content); i += 2 {
		if list := root.Content[i+1]; list.Kind == yaml.SequenceNode {
			out[root.Content[i].Value] = list
		}
	}
	return out
}

// nameOf returns the name of a rule or protection.
func nameOf(n *yaml.Node) string {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "name" {
			return n.Content[i+1].Value
		}
	}
	return ""
}

func dump(root *yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	d, err := yaml.NewDumper(&out, yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(-1))
	if err == nil {
		err = d.Dump(root)
	}
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("write policy: %w", err)
	}
	return out.Bytes(), nil
}
