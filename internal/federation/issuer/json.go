package issuer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on the JSON of a token.
const (
	maxDepth  = 8
	maxValues = 2000 // keys and elements together
)

// readObject reads one JSON object, and refuses what two readers could
// understand differently: keys that are there twice, or differ in case alone
// (T-17, T-18), text that is no Unicode, bytes after the end. Numbers are int64,
// or float64.
//
// encoding/json alone takes the last of two equal keys without a word.
func readObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	r := jsonReader{Decoder: json.NewDecoder(bytes.NewReader(data))}
	r.UseNumber()
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	return object, nil
}

type jsonReader struct {
	*json.Decoder
	values int
}

func (r *jsonReader) value(depth int) (any, error) {
	if r.values++; r.values > maxValues || depth > maxDepth {
		return nil, errors.New("it has too many values")
	}
	token, err := r.Token()
	if err != nil {
		return nil, errors.New("it is not JSON")
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return r.object(depth)
		}
		return r.array(depth)
	case json.Number:
		return numberOf(t)
	case string:
		return t, checkString(t)
	}
	return token, nil // true, false, null
}

func (r *jsonReader) object(depth int) (any, error) {
	out, folded := map[string]any{}, map[string]bool{}
	for r.More() {
		token, err := r.Token()
		if err != nil {
			return nil, errors.New("it is not JSON")
		}
		key, _ := token.(string) // the decoder takes nothing else
		if err := checkString(key); err != nil {
			return nil, err
		}
		if f := fold(key); folded[f] {
			return nil, errors.New("a key is there twice")
		} else {
			folded[f] = true
		}
		if out[key], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := r.Token()
	return out, err
}

func (r *jsonReader) array(depth int) (any, error) {
	out := []any{}
	for r.More() {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := r.Token()
	return out, err
}

// checkString refuses what the decoder puts in place of half a surrogate pair.
func checkString(s string) error {
	if strings.ContainsRune(s, utf8.RuneError) {
		return errors.New("a text of it is not Unicode")
	}
	return nil
}

func numberOf(n json.Number) (any, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, errors.New("a number of it is too large")
	}
	return f, nil
}

// fold returns one text for all that differ in case alone, as Unicode sees it:
// "ſub" is "sub".
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// unseen reports whether a character cannot be seen, or changes how others are.
func unseen(r rune) bool {
	return !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) || r != ' ' && unicode.IsSpace(r)
}
