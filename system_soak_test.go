package evenkeel_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

var (
	soakLasts = flag.Duration("soak.d", 6*time.Second, "how long TestSoak keeps its load up")
	soakFault = flag.Duration("soak.fault", time.Second, "how often TestSoak has a fault strike")
)

const (
	soakWindows = 6
	soakReads   = 500 // a second
	soakWrites  = 100 // a second
)

// TestSoak keeps up a steady load, which arrives at fixed times however long the answers take, while
// one fault after the other strikes. No read and no write may fail, and in the end there are no more
// goroutines and no more memory than there were, and no more sockets than have a use. -v prints a table, a line for each
// sixth of the time; the process has the set in it as well.
//
//	go test -run TestSoak -v . -soak.d=30m -soak.fault=1m -timeout 40m
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("under the race detector the load is more than the machine has to give")
	}
	c := ownSet(t, "faults without end", replset.Options{Members: 4, ElectionTimeout: 500 * time.Millisecond})
	c.seed(t, "us")
	gauge := newGauge()
	g := c.play(t, app.Config{MaxLag: 2 * time.Second, ClientOptions: gauge.into})
	g.events.lossy = true
	g.steady(t, 4)

	s := &soak{g: g, gauge: gauge, began: time.Now()}
	s.next()
	load, stop := context.WithCancel(context.Background())
	var loads sync.WaitGroup
	loads.Go(func() { s.arrive(load, soakReads, s.read) })
	loads.Go(func() { s.arrive(load, soakWrites, s.write) })
	end := make(chan struct{})
	time.AfterFunc(*soakLasts, func() { close(end) })
	windows := time.NewTicker(*soakLasts / soakWindows)
	defer windows.Stop()
	var table sync.WaitGroup
	table.Go(func() {
		for range soakWindows {
			<-windows.C
			s.next()
		}
	})

	s.strike(t, end)
	<-end
	table.Wait()
	stop()
	loads.Wait()
	t.Logf("\n%s", s.table())
	for _, err := range s.errs {
		t.Error(err)
	}
	if s.failed > len(s.errs) {
		t.Errorf("%d requests failed", s.failed)
	}
	g.mustBeRight(t)

	c.awaitSteady(t)
	g.steady(t, 4)
	most := s.lines[0]
	for _, l := range s.lines[:soakWindows/2] {
		most.goroutines, most.heap = max(most.goroutines, l.goroutines), max(most.heap, l.heap)
	}
	for _, m := range c.set.Members() {
		most := openSockets
		if !slices.ContainsFunc(byKind[messages.PrimaryChanged](g.events, 0), func(e messages.PrimaryChanged) bool { return e.To == m.Host() }) {
			most -= laneSockets
		}
		eventually(t, fmt.Sprintf("%v has no more sockets than have a use, %d", m, most), func() bool { _, n := gauge.at(m.Host()); return n <= most })
	}
	eventually(t, fmt.Sprintf("there are no more goroutines than in the first half, %.0f", most.goroutines),
		func() bool { return float64(runtime.NumGoroutine()) <= most.goroutines })
	const slack = 16 * mega // The set's oplog, and what was told of the faults, within their limits.
	if now, _ := heap(); now > most.heap+slack {
		t.Errorf("the heap has grown from %.0f MB to %.0f MB", most.heap/mega, now/mega)
	}
}

const mega = 1 << 20

// soak is one run.
type soak struct {
	g     *game
	gauge *gauge
	began time.Time

	mu     sync.Mutex
	reads  *hdrhistogram.Histogram // mu; of this window, in microseconds
	writes *hdrhistogram.Histogram // mu
	faults []string                // mu; of this window
	lines  []soakLine              // mu; windows that are over
	failed int                     // mu
	errs   []error                 // mu; the first ones
}

type soakLine struct {
	at                    time.Duration
	reads, writes         *hdrhistogram.Histogram
	rss, heap, goroutines float64
	sockets, failed       int
	faults                []string
}

// next ends a window.
func (s *soak) next() {
	line := soakLine{rss: rss(), sockets: s.sockets(), at: time.Since(s.began)}
	line.heap, line.goroutines = heap()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads != nil {
		line.reads, line.writes, line.faults, line.failed = s.reads, s.writes, s.faults, s.failed
		s.lines = append(s.lines, line)
	}
	s.reads = hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 2)
	s.writes = hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 2)
	s.faults = nil
}

// arrive has requests come at a fixed rate.
func (s *soak) arrive(ctx context.Context, rate int, request func(n int) (took *hdrhistogram.Histogram, err error)) {
	var sent sync.WaitGroup
	defer sent.Wait()
	start := time.Now()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for n := 0; ; n++ {
		due := start.Add(time.Duration(n) * time.Second / time.Duration(rate))
		wait.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		sent.Go(func() {
			h, err := request(n)
			s.mu.Lock()
			defer s.mu.Unlock()
			_ = h.RecordValue(max(1, min(time.Since(due).Microseconds(), h.HighestTrackableValue())))
			if err == nil {
				return
			}
			if s.failed++; len(s.errs) < 10 {
				s.errs = append(s.errs, fmt.Errorf("%v after the start: %w", time.Since(s.began).Round(time.Millisecond), err))
			}
		})
	}
}

func (s *soak) read(n int) (*hdrhistogram.Histogram, error) {
	ctx, cancel := context.WithTimeout(context.Background(), unhurried)
	defer cancel()
	err := s.g.Collection(s.g.c.db, "players").FindOne(ctx, bson.D{{Key: "_id", Value: n % players}}).Err()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, err
}

func (s *soak) write(n int) (*hdrhistogram.Histogram, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	_, err := s.g.Collection(s.g.c.db, "players").UpdateByID(ctx, n%players, bson.D{{Key: "$set", Value: bson.D{{Key: "level", Value: n}}}})
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes, err
}

// strike has each fault strike in turn, for half of its time.
func (s *soak) strike(t *testing.T, end <-chan struct{}) {
	tick := time.NewTicker(*soakFault)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		s.g.c.awaitSteady(t)
		s.g.steady(t, 4)
		f := faults[n%len(faults)]
		members := s.g.c.set.Members()
		i := slices.IndexFunc(members, func(m *replset.Member) bool { return m.IsPrimary() == f.primary })
		if i < 0 {
			continue // The primary has just stepped down.
		}
		s.mu.Lock()
		s.faults = append(s.faults, f.name)
		s.mu.Unlock()
		half := time.NewTimer(*soakFault / 2)
		heal := f.hit(t, s.g, members[i])
		select {
		case <-half.C:
		case <-end:
		}
		heal()
	}
}

func (s *soak) sockets() (n int) {
	for _, m := range s.g.c.set.Members() {
		_, open := s.gauge.at(m.Host())
		n += open
	}
	return n
}

func (s *soak) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "until\treads\tp50 µs\tp99\tmax\twrites\tp50\tp99\tmax\tfailed\tRSS MB\theap\tgoroutines\tsockets\tfaults\t")
	for _, l := range s.lines {
		fmt.Fprintf(w, "%v\t", l.at.Round(time.Second))
		for _, h := range []*hdrhistogram.Histogram{l.reads, l.writes} {
			fmt.Fprintf(w, "%d\t%d\t%d\t%d\t", h.TotalCount(), h.ValueAtQuantile(50), h.ValueAtQuantile(99), h.Max())
		}
		fmt.Fprintf(w, "%d\t%.0f\t%.0f\t%.0f\t%d\t%d\t\n", l.failed, l.rss/mega, l.heap/mega, l.goroutines, l.sockets, len(l.faults))
	}
	_ = w.Flush()
	for _, l := range s.lines {
		fmt.Fprintf(&b, "%v: %s\n", l.at.Round(time.Second), strings.Join(l.faults, "; "))
	}
	return b.String()
}

// rss is the process's resident memory, 0 where the system does not say.
func rss() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb * 1024
		}
	}
	return 0
}
