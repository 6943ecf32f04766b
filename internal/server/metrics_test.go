package server_test

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/server"
)

var requestSeries = regexp.MustCompile(`(?m)^sallyport_requests_total\{.*\}`)

// L-10: what clients send makes no series, and metrics are for the health listener alone.
func TestMetrics(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	for i := range 50 {
		r.get(t, "/nothing-"+strconv.Itoa(i))
		r.get(t, "/v2/repo-"+strconv.Itoa(i)+"/tags/list", func(req *http.Request) {
			req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("u"+strconv.Itoa(i)+":")))
		})
	}
	status, text := plainGet(t, r.HealthAddress(), "/metrics")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	if got := requestSeries.FindAllString(text, -1); len(got) != 2 {
		t.Errorf("L-10 series of requests: %q, want one for each door and class", got)
	}
	if strings.Contains(text, "repo-") || strings.Contains(text, "nothing-") {
		t.Error("L-10 a metric holds what a client sent")
	}
	if resp, _ := r.get(t, "/metrics"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("metrics are served to clients: %d", resp.StatusCode)
	}
}
