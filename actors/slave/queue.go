package slave

import (
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
)

// lane is one queue and its workers; the service's lock guards it.
type lane struct {
	queue   queue
	active  int
	workers int
	// gone is how many reads were answered while they waited since the last compact: of some
	// a worker has taken notice since.
	gone atomic.Int64
	left func() // counts in gone
}

func (l *lane) init(workers int) {
	l.workers = workers
	l.left = func() { l.gone.Add(1) }
	l.queue.open = map[kinship]*job{}
}

// compact drops reads that were answered while they waited, each of which it gives to dropped. The
// service's lock must be held.
func (l *lane) compact(dropped func(*request.Read)) {
	l.gone.Store(0)
	l.queue.compact(dropped)
}

// queue holds the reads that wait, in the order in which they came, except that one
// which may share the round trip of another that waits goes with that one.
type queue struct {
	jobs  []*job
	open  map[kinship]*job // those that take more reads
	reads int
}

// job is what goes on the wire together: one read, or several point reads.
type job struct {
	reads []*request.Read
	kin   kinship
	open  bool
	bytes int // of the _ids
}

// kinship is what reads must have in common to share a round trip.
type kinship struct {
	shape command.Shape
	// after is what the member must have seen: nobody waits for what another wants.
	after bson.Timestamp
	// patience is how long the attempt may take, by powers of two of milliseconds: a
	// round trip lasts as long as the most patient of its reads.
	patience int
}

// kinOf returns a read's kinship; ok is false for one that goes alone.
func kinOf(r *request.Read, now time.Time) (k kinship, ok bool) {
	if r.Alone {
		return kinship{}, false
	}
	shape, ok := r.Cmd.Shape()
	if !ok {
		return kinship{}, false
	}
	return kinship{shape: shape, after: r.After.OperationTime, patience: bits.Len64(uint64(max(0, r.AttemptDeadline.Sub(now).Milliseconds())))}, true
}

// add puts a read where it belongs. Share allows it to go with others.
func (q *queue) add(r *request.Read, share bool, now time.Time) {
	q.reads++
	if !share {
		q.jobs = append(q.jobs, &job{reads: []*request.Read{r}})
		return
	}
	kin, ok := kinOf(r, now)
	if !ok {
		q.jobs = append(q.jobs, &job{reads: []*request.Read{r}})
		return
	}
	size := len(r.Cmd.ID.Value)
	j := q.open[kin]
	if j != nil && j.bytes+size > command.MaxBatchBytes {
		q.shut(j)
		j = nil
	}
	if j == nil {
		j = &job{kin: kin, open: true}
		q.open[kin] = j
		q.jobs = append(q.jobs, j)
	}
	j.reads, j.bytes = append(j.reads, r), j.bytes+size
	if len(j.reads) == command.MaxBatch {
		q.shut(j)
	}
}

// shut lets a job take no more reads.
func (q *queue) shut(j *job) {
	if j.open {
		j.open = false
		delete(q.open, j.kin)
	}
}

// take returns the reads that have waited longest, nil when none wait.
func (q *queue) take() []*request.Read {
	if len(q.jobs) == 0 {
		return nil
	}
	j := q.jobs[0]
	q.jobs[0] = nil
	q.jobs = q.jobs[1:]
	q.shut(j)
	q.reads -= len(j.reads)
	return j.reads
}

// waiting is how many of the reads nobody has answered yet.
func (q *queue) waiting() (n int) {
	for _, j := range q.jobs {
		for _, r := range j.reads {
			if !r.Done() {
				n++
			}
		}
	}
	return n
}

// drain takes all, or all but those of open cursors, which nobody else can serve.
func (q *queue) drain(cursors bool) (taken []*request.Read) {
	var stay []*job
	q.reads = 0
	for _, j := range q.jobs {
		if !cursors && j.reads[0].Cmd.Class == command.Pinned {
			stay = append(stay, j)
			q.reads += len(j.reads)
			continue
		}
		q.shut(j)
		taken = append(taken, j.reads...)
	}
	q.jobs = stay
	return taken
}

// compact drops those that were answered, each of which it gives to dropped.
func (q *queue) compact(dropped func(*request.Read)) {
	q.jobs = slices.DeleteFunc(q.jobs, func(j *job) bool {
		j.reads = slices.DeleteFunc(j.reads, func(r *request.Read) bool {
			if !r.Done() {
				return false
			}
			q.reads--
			dropped(r)
			return true
		})
		if len(j.reads) == 0 {
			q.shut(j)
		}
		return len(j.reads) == 0
	})
}
