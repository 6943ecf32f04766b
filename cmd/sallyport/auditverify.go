package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

func newAuditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [FILE…]",
		Short: "Check that no event was removed, altered or moved",
		Long: `Recompute the chain of hashes of the audit record and compare it with what is
written. Without FILE the server's whole record is read, which takes the right
read-audit over the whole registry; with FILE, lines that audit -o json or a
sink has written are read, - for standard input.

The end of a file can be cut off, and the whole of a record computed anew, without
a trace in it. Note the number and hash that verify prints somewhere else, and
give them with --through the next time: the record must still go through there.`,
		Example: `  sallyport audit verify
  sallyport audit verify audit.jsonl`,
		Args: arguments(cobra.ArbitraryArgs),
	}
	var through link
	f := addFormat(cmd)
	cmd.Flags().Var(&through, "through", "a number and hash, N:HASH, that the record must go through")
	online := with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		return verifyServer(cmd, c, verification{through: through, format: f})
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return online(cmd, args)
		}
		return verifyFiles(cmd, args, verification{through: through, format: f})
	}
	return cmd
}

// A link is a place in the chain, "N:HASH".
type link struct {
	ledger.Link
	given bool
}

func (l *link) String() string { return "" }
func (l *link) Type() string   { return "N:HASH" }

func (l *link) Set(s string) error {
	number, hash, _ := strings.Cut(s, ":")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || l.Hash.UnmarshalText([]byte(hash)) != nil {
		return errors.New("use the number and hash that audit verify has printed")
	}
	l.Seq, l.given = n, true
	return nil
}

// A verification checks events in their order.
type verification struct {
	chain   ledger.Chain
	through link
	format  *format
	passed  bool
	events  int64
}

func (v *verification) add(line []byte) error {
	s, err := ledger.ParseLine(line)
	if err != nil {
		return err
	}
	if err := v.chain.Add(s); err != nil {
		return err
	}
	v.events++
	return v.pass(s.Link())
}

// pass compares a place with the one that the record must go through.
func (v *verification) pass(at ledger.Link) error {
	if !v.through.given || at.Seq != v.through.Seq {
		return nil
	}
	if at.Hash != v.through.Hash {
		return fmt.Errorf("%w: event %d does not have the hash that was noted", ledger.ErrBroken, at.Seq)
	}
	v.passed = true
	return nil
}

// end tells the result, and what to note.
func (v *verification) end(cmd *cobra.Command) error {
	at := v.chain.At()
	if v.through.given && !v.passed {
		return fmt.Errorf("%w: it does not hold event %d, whose hash was noted", ledger.ErrBroken, v.through.Seq)
	}
	if v.format.data() {
		return v.format.write(cmd, struct {
			Events int64       `json:"events"`
			Last   ledger.Link `json:"last"`
		}{v.events, at}, nil)
	}
	return result(cmd, "%d events, whole; the last is %d:%s", v.events, at.Seq, at.Hash)
}

func verifyServer(cmd *cobra.Command, c *client.Client, v verification) error {
	first, err := c.Audit(cmd.Context(), client.AuditQuery{Oldest: true, Limit: 1})
	if err != nil {
		return err
	}
	if first.Anchor == nil || first.Head == nil {
		return hintedError{errors.New("the whole record is needed, and part of it is not for you"), "ask for the right read-audit over the whole registry"}
	}
	anchor, err := first.Anchor.Link()
	if err != nil {
		return err
	}
	head, err := first.Head.Link()
	if err != nil {
		return err
	}
	v.chain = ledger.From(anchor)
	if err := v.pass(anchor); err != nil {
		return err
	}
	q := client.AuditQuery{Oldest: true, After: anchor.Seq}
	for v.chain.At().Seq < head.Seq {
		page, err := c.Audit(cmd.Context(), q)
		if err != nil {
			return err
		}
		for _, e := range page.Items {
			line, err := json.Marshal(e)
			if err == nil {
				err = v.add(line)
			}
			if err != nil {
				return err
			}
			if e.Seq == head.Seq && v.chain.At() != head {
				return fmt.Errorf("%w: event %d does not have the hash of the end", ledger.ErrBroken, e.Seq)
			}
		}
		if page.Next == "" {
			break
		}
		if q.After, err = strconv.ParseInt(page.Next, 10, 64); err != nil {
			return fmt.Errorf("the server's answer: %w", err)
		}
	}
	if at := v.chain.At(); at.Seq < head.Seq {
		return v.chain.EndsAt(head)
	}
	if err := v.chain.Accounted(); err != nil {
		return err
	}
	return v.end(cmd)
}

// begins tells of a file without the beginning of the record: what was in it,
// the file cannot tell.
func (v *verification) begins(cmd *cobra.Command) {
	if first := v.chain.First(); first > 1 {
		say(cmd, "the first event here is %d: what came before, and whether it was removed, is not checked", first)
	}
}

func verifyFiles(cmd *cobra.Command, paths []string, v verification) error {
	for _, path := range paths {
		in := cmd.InOrStdin()
		if path != "-" {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		if err := v.addLines(in); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if v.events == 0 {
		return errors.New("there is no event to verify")
	}
	v.begins(cmd)
	return v.end(cmd)
}

// addLines reads a line for each event. The last one is whole too.
func (v *verification) addLines(in io.Reader) error {
	r := bufio.NewReaderSize(in, ledger.MaxLine)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: the last line is cut off", ledger.ErrBroken)
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%w: a line is longer than any event", ledger.ErrBroken)
		case err != nil:
			return err
		}
		if err := v.add(bytes.TrimSuffix(line, []byte{'\n'})); err != nil {
			return err
		}
	}
}
