package federation

import (
	"math/big"
	"strconv"
	"strings"
	"time"
)

// evidence is what a proven certificate rests on, in a form small enough to
// travel in an access token and complete enough to be judged again without the
// certificates, on every process:
//
//	IDENTITY " " END " " ANCHOR { " " SERIAL ":" SIGNER [ ":ca" ] }
//
// END is when the first certificate of the path expires, in seconds since 1970;
// ANCHOR a certMark; each link one certificate of the path, leaf first, with the
// signerMark of what signed it, which stood in the CA file if it ends with ":ca".
type evidence struct {
	identity Identity
	expires  time.Time
	anchor   mark
	links    []link
}

// A link is one certificate of a path.
type link struct {
	serial string // hexadecimal
	signer mark
	ours   bool // the signer stood in the CA file, and must stay there
}

func serialOf(n *big.Int) string { return n.Text(16) }

func (e evidence) String() string {
	parts := []string{string(e.identity), strconv.FormatInt(e.expires.Unix(), 10), string(e.anchor)}
	for _, l := range e.links {
		part := l.serial + ":" + string(l.signer)
		if l.ours {
			part += ":ca"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

// parseEvidence reads what String wrote. It comes out of a token that we signed:
// the form is checked, not the content.
func parseEvidence(s string) (evidence, error) {
	parts := strings.Split(s, " ")
	if len(parts) < 4 || len(parts) > 3+2*maxChain {
		return evidence{}, errEvidence
	}
	end, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return evidence{}, errEvidence
	}
	e := evidence{identity: Identity(parts[0]), expires: time.Unix(end, 0), anchor: mark(parts[2])}
	for _, part := range parts[3:] {
		serial, signer, ok := strings.Cut(part, ":")
		signer, ours := strings.CutSuffix(signer, ":ca")
		if !ok || serial == "" || signer == "" {
			return evidence{}, errEvidence
		}
		e.links = append(e.links, link{serial: serial, signer: mark(signer), ours: ours})
	}
	return e, nil
}
