package server

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sallyport/sallyport/internal/account"
)

// What bounds GET /metrics.
const (
	maxScrapes    = 3 // at the same time
	maxKeySeries  = 200
	keysReadAgain = 30 * time.Second
	keysPatience  = 2 * time.Second
)

// metrics are counted in the front and shown on the health listener, in the text
// form of Prometheus. No label holds what a client sent, except names of access
// keys and their owners, whose number is bounded (L-10). Safe for concurrent use.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_requests_total", Help: "Requests answered, by door and class of status.",
		}, []string{"door", "class"}),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.requests)
	return m
}

// count counts a request that a door answered.
func (m *metrics) count(door string, status int) {
	m.requests.WithLabelValues(door, strconv.Itoa(status/100)+"xx").Inc()
}

// watch adds what the rooms know.
func (m *metrics) watch(r *rooms, running func() int64, now func() time.Time, log *slog.Logger) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sallyport_requests_running", Help: "Requests that are being answered.",
		}, func() float64 { return float64(running()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "sallyport_password_hashes_total", Help: "Password hashes computed.",
		}, func() float64 { return float64(r.accounts.Hashes()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "sallyport_database_queries_total", Help: "Statements sent to the metadata database.",
		}, func() float64 { return float64(r.db.Queries()) }),
		&keyExpiry{list: r.accounts.EndingKeys, now: now, log: log},
		&issuerKeys{set: r.issuers, now: now},
	)
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes,
	})
}

// keyExpiry shows the days that access keys have left: of the live ones that have
// no successor those that end first. The database is asked at most twice a minute, however often
// somebody scrapes.
type keyExpiry struct {
	list func(ctx context.Context, limit int) ([]account.Key, error)
	now  func() time.Time
	log  *slog.Logger

	mu    sync.Mutex
	asked time.Time
	keys  []account.Key
}

var keyExpiryDesc = prometheus.NewDesc("sallyport_access_key_expiry_days",
	"Days until an access key ends: of the live keys without a successor the "+strconv.Itoa(maxKeySeries)+" that end first.",
	[]string{"key", "owner", "name"}, nil)

// Describe implements prometheus.Collector.
func (c *keyExpiry) Describe(ch chan<- *prometheus.Desc) { ch <- keyExpiryDesc }

// Collect implements prometheus.Collector.
func (c *keyExpiry) Collect(ch chan<- prometheus.Metric) {
	now := c.now()
	for _, k := range c.read(now) {
		if k.Alive(now) {
			ch <- prometheus.MustNewConstMetric(keyExpiryDesc, prometheus.GaugeValue, k.Expires.Sub(now).Hours()/24, k.ID, k.Owner, k.Name)
		}
	}
}

// read returns the keys, and nothing while the database does not answer: old
// numbers would hide that.
func (c *keyExpiry) read(now time.Time) []account.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked.IsZero() && now.Sub(c.asked) < keysReadAgain {
		return c.keys
	}
	ctx, cancel := context.WithTimeout(context.Background(), keysPatience)
	defer cancel()
	keys, err := c.list(ctx, maxKeySeries)
	if err != nil {
		c.log.LogAttrs(ctx, slog.LevelError, "access keys not counted", slog.Any("err", err))
	}
	c.asked, c.keys = now, keys
	return keys
}
