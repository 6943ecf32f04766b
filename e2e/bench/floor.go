package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	_ "modernc.org/sqlite"
)

// floor serves the least that each job needs: the same bytes, the same flushes,
// no rights.
func floor(address, dir string) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		log.Fatal(err)
	}
	manifest := sampleManifest()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(manifest))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /manifest", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", manifestType)
		h.Set("Docker-Content-Digest", digest)
		h.Set("Content-Length", fmt.Sprint(len(manifest)))
		w.Write(manifest)
	})
	mux.HandleFunc("GET /blob/{name}", func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(filepath.Join(dir, filepath.Base(r.PathValue("name"))))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	})
	mux.HandleFunc("PUT /blob", func(w http.ResponseWriter, r *http.Request) {
		if err := receive(dir, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("/token", tokenFloor(dir))
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	log.Fatal(http.ListenAndServe(address, mux))
}

var received atomic.Int64

// receive hashes, writes, flushes and renames.
func receive(dir string, body io.Reader) error {
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("upload-%d", received.Add(1))))
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 256<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, body, buf); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, hex.EncodeToString(h.Sum(nil)))); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// tokenFloor looks up a row by the hash of a secret and signs ES256.
func tokenFloor(dir string) http.HandlerFunc {
	db, err := sql.Open("sqlite", filepath.Join(dir, "floor.db"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec("create table if not exists session(sum blob primary key, account text)"); err != nil {
		log.Fatal(err)
	}
	sum := sha256.Sum256([]byte("secret"))
	if _, err := db.Exec("insert into session values($1,'alice') on conflict do nothing", sum[:]); err != nil {
		log.Fatal(err)
	}
	find, err := db.Prepare("select account from session where sum=$1")
	if err != nil {
		log.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		log.Fatal(err)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256([]byte(r.FormValue("refresh_token")))
		var account string
		if err := find.QueryRow(sum[:]).Scan(&account); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		var id [16]byte
		rand.Read(id[:])
		now := time.Now().Unix()
		claims, _ := json.Marshal(map[string]any{
			"iss": "floor", "aud": "floor", "sub": account, "iat": now, "nbf": now, "exp": now + 300,
			"jti":    base64.RawURLEncoding.EncodeToString(id[:]),
			"access": []map[string]any{{"type": "repository", "name": "bench/app", "actions": []string{"pull"}}},
		})
		jws, err := signer.Sign(claims)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		token, _ := jws.CompactSerialize()
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
	}
}
