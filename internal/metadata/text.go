package metadata

import (
	"context"
	"database/sql"
	"iter"
	"slices"
	"strconv"
	"strings"
)

const (
	firstPage = 100
	lastPage  = 1000
	// maxIn bounds the values of one IN list.
	maxIn = 512
)

// paged yields what fetch returns, asking for the rows after the last one in
// pages that grow. No connection is held while the consumer works.
func paged[T any](after string, key func(T) string, fetch func(after string, limit int) ([]T, error)) iter.Seq2[T, error] {
	return pagedUntil(after, key, func(after string, limit int) ([]T, bool, error) {
		page, err := fetch(after, limit)
		return page, len(page) == limit, err
	})
}

// pagedUntil is paged for a fetch that may return fewer rows than the limit,
// at least one, and says whether more may follow.
func pagedUntil[T any](after string, key func(T) string, fetch func(after string, limit int) ([]T, bool, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		after, limit := after, firstPage
		for {
			page, more, err := fetch(after, limit)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
			if !more || len(page) == 0 {
				return
			}
			after, limit = key(page[len(page)-1]), min(2*limit, lastPage)
		}
	}
}

// failed is a sequence of one error.
func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}

// collect reads one column.
func collect[T any](ctx context.Context, t *tx, query string, a args) ([]T, error) {
	var out []T
	err := t.rows(ctx, query, a, func(rows *sql.Rows) error {
		var v T
		err := rows.Scan(&v)
		out = append(out, v)
		return err
	})
	return out, err
}

// bound returns a text that PostgreSQL takes and that separates the names of
// the registry, which are printable ASCII, as s does by bytes: a name is
// greater than s if and only if it is greater than bound(s).
func bound(s string) string {
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ':
			return s[:i]
		case c >= 0x7f:
			return s[:i] + "\x7f"
		}
	}
	return s
}

// span returns the bounds of the names that begin with prefix: from it, to
// before its successor. Wildcards have no meaning. An impossible prefix gives
// an empty span.
func span(prefix string) (from, to string) {
	if prefix == "" {
		return "", "\x7f"
	}
	if bound(prefix) != prefix {
		return "", ""
	}
	last := len(prefix) - 1
	return prefix, prefix[:last] + string(prefix[last]+1)
}

// distinct returns values as text, sorted, so that all transactions lock rows
// in the same order.
func distinct[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// inChunks calls do with parts of values that fit an IN list, with the list's
// text for placeholders that begin with $first. The lengths are powers of two,
// the last value repeated, so that few different statements come about.
func inChunks(values []string, first int, do func(list string, a args) error) error {
	for chunk := range slices.Chunk(values, maxIn) {
		n := 1
		for n < len(chunk) {
			n *= 2
		}
		var list strings.Builder
		a := make(args, n)
		for i := range n {
			if i > 0 {
				list.WriteByte(',')
			}
			list.WriteByte('$')
			list.WriteString(strconv.Itoa(first + i))
			a[i] = chunk[min(i, len(chunk)-1)]
		}
		if err := do(list.String(), a); err != nil {
			return err
		}
	}
	return nil
}

// placeholders returns the text for rows of so many columns: ($1,$2),($3,$4).
func placeholders(rows, columns int) string {
	var out strings.Builder
	for i := range rows * columns {
		switch {
		case i == 0:
			out.WriteString("($")
		case i%columns == 0:
			out.WriteString("),($")
		default:
			out.WriteString(",$")
		}
		out.WriteString(strconv.Itoa(i + 1))
	}
	return out.String() + ")"
}
