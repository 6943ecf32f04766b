package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/doctor"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [HOST]",
		Short: "Find stored passwords, open files and weak settings of registry clients",
		Long: `Examine how the registry clients of this machine keep their credentials: docker,
podman, buildah, skopeo, containerd, nerdctl, crane, oras, regctl, helm, kubectl,
the kubelet, and sallyport itself. Who may read the files, which of them hold
passwords and tokens, which tokens expired, which helpers are missing, which
registries are taken without verifying them. No secret is printed or sent.

With HOST that registry is asked too: whether it is reached, its certificate, its
clock, its token service, and whether it still takes the identity tokens and
access keys that were found for it; these go to it alone. With --online so is each
registry for which such secrets were found.

--fix takes rights on files away from others where that breaks nothing. Of all
else the command that mends it is printed. Each kind of finding is explained in
docs/doctor.md.

The exit code is 1 when there are findings at least as bad as --fail-on says.`,
		Example: `  sallyport doctor
  sallyport doctor registry.example.com --fix
  sallyport doctor --fail-on medium -o json
  sallyport doctor --root /mnt/image`,
		Args: arguments(cobra.MaximumNArgs(1)),
	}
	var o doctor.Options
	failOn := severityFlag(doctor.High)
	cmd.Flags().StringVar(&o.Root, "root", "", "examine the machine whose / is this directory, such as an unpacked image")
	cmd.Flags().StringVar(&o.Home, "home", "", "examine this home directory, and no environment")
	cmd.Flags().BoolVar(&o.Online, "online", false, "ask each registry whose access keys and identity tokens are found")
	cmd.Flags().BoolVar(&o.Fix, "fix", false, "mend what is safe to mend")
	cmd.Flags().Var(&failOn, "fail-on", "the least severity for which the exit code is 1")
	f := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, arg := range args {
			a, err := client.ParseAddress(arg)
			if err != nil {
				return usage(cmd, err)
			}
			o.Servers = append(o.Servers, a)
		}
		o.Client = clientOptions()
		r, err := doctor.Examine(cmd.Context(), o)
		if err != nil {
			return err
		}
		if err := writeReport(cmd, f, r); err != nil {
			return err
		}
		return verdict(r, doctor.Severity(failOn))
	}
	return cmd
}

// A severityFlag is the flag --fail-on.
type severityFlag doctor.Severity

func (s *severityFlag) String() string { return string(*s) }
func (s *severityFlag) Type() string   { return "high|medium|low|info" }

func (s *severityFlag) Set(text string) error {
	if !slices.Contains(doctor.Severities, doctor.Severity(text)) {
		return fmt.Errorf("use high, medium, low or info")
	}
	*s = severityFlag(text)
	return nil
}

func writeReport(cmd *cobra.Command, f *format, r doctor.Report) error {
	if r.Findings == nil {
		r.Findings = []doctor.Finding{}
	}
	var err error
	if f.data() {
		err = f.write(cmd, r.Findings, nil)
	} else {
		err = writeFindings(cmd.OutOrStdout(), r.Findings)
	}
	say(cmd, "read %s: %s", counted(r.Files, "file"), tally(r.Findings))
	if r.More {
		say(cmd, "there are more findings than are listed")
	}
	return err
}

// writeFindings writes for people: what and where, why, and what to do.
func writeFindings(w io.Writer, found []doctor.Finding) error {
	for _, at := range found {
		head := fmt.Sprintf("%-6s  %s  %s", at.Severity, at.ID, client.Printable(at.Place))
		if at.Entry != "" {
			head += "  " + client.Printable(at.Entry)
		}
		lines := []string{head, "        " + client.Printable(at.Reason)}
		switch {
		case at.Fixed:
			lines = append(lines, "        mended: "+client.Printable(at.Mend))
		case at.Mend != "":
			lines = append(lines, "        $ "+client.Printable(at.Mend))
		}
		if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// tally counts what was found, worst first.
func tally(found []doctor.Finding) string {
	count := map[doctor.Severity]int{}
	mended := 0
	for _, at := range found {
		if at.Fixed {
			mended++
			continue
		}
		count[at.Severity]++
	}
	var parts []string
	for _, s := range doctor.Severities {
		if count[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[s], s))
		}
	}
	if mended > 0 {
		parts = append(parts, fmt.Sprintf("%d mended", mended))
	}
	if len(parts) == 0 {
		return "nothing found"
	}
	return strings.Join(parts, ", ")
}

// verdict is an error when something is left that is bad enough.
func verdict(r doctor.Report, failOn doctor.Severity) error {
	bad, fixable := 0, false
	for _, at := range r.Findings {
		if !at.Fixed && at.Severity.AtLeast(failOn) {
			bad++
			fixable = fixable || at.Fixable
		}
	}
	if bad == 0 {
		return nil
	}
	hint := "run the commands above; docs/doctor.md explains each finding"
	if fixable {
		hint = "sallyport doctor --fix mends what is safe; " + hint
	}
	return hintedError{fmt.Errorf("%s of severity %s or worse", counted(bad, "finding"), failOn), hint}
}
