package main

import "time"

const (
	// sliceEvery is how often reads are looked at for a returned host's share, which is
	// also how exact the time to it is.
	sliceEvery = 20 * time.Millisecond
	// shareWindow is over how many slices a share is taken, and shareReads the fewest
	// reads that say anything.
	shareWindow = 10
	shareReads  = 20
	// sharePart is the part of its fair share at which a host counts as restored.
	sharePart = 0.9
)

// homecoming is one host's return.
type homecoming struct {
	cause, host string
	since       time.Time
	// took is how long it was until the host had its share, or, while it is not
	// restored, how long that has been waited for. A time in which the process had no
	// processor is not in it: one that nobody looked in, with less than half of the reads
	// that there were before.
	took     time.Duration
	restored bool
}

// returns follows the shares of hosts that have come back: from the moment they can
// serve again until, over the last 200 ms, they have answered 90 % of what one of the
// serving hosts would answer if all answered the same. The window reaches back before the
// return at first, so that the share is never taken too early. It is used by one
// goroutine.
type returns struct {
	slices []map[string]int64 // the latest, oldest first
	looked time.Time
	all    []homecoming
}

// came notes a return.
func (r *returns) came(cause, host string, at time.Time) {
	r.all = append(r.all, homecoming{cause: cause, host: host, since: at})
}

// look takes the next slice of reads, with the number of hosts that serve.
func (r *returns) look(slice map[string]int64, serving int, now time.Time) {
	stalled := r.stalled(slice, now)
	r.looked = now
	r.slices = append(r.slices, slice)
	if len(r.slices) > shareWindow {
		r.slices = r.slices[1:]
	}
	for i := range r.all {
		h := &r.all[i]
		if h.restored {
			continue
		}
		h.since = h.since.Add(min(stalled, max(0, now.Sub(h.since))))
		h.took = max(0, now.Sub(h.since))
		h.restored = r.hasShare(h.host, serving)
	}
}

// stalled is for how long before a slice is looked at the process had no processor.
func (r *returns) stalled(slice map[string]int64, now time.Time) time.Duration {
	late := now.Sub(r.looked) - 2*sliceEvery
	if r.looked.IsZero() || late <= 0 {
		return 0
	}
	var before int64
	for _, s := range r.slices {
		before += reads(s)
	}
	usual := float64(before) / float64(max(1, len(r.slices))*int(sliceEvery)) * float64(now.Sub(r.looked))
	if float64(reads(slice)) >= usual/2 {
		return 0
	}
	return late
}

// reads are those of all hosts in a slice.
func reads(slice map[string]int64) (n int64) {
	for _, own := range slice {
		n += own
	}
	return n
}

func (r *returns) hasShare(host string, serving int) bool {
	if len(r.slices) < shareWindow || serving == 0 {
		return false
	}
	var own, all int64
	for _, s := range r.slices {
		own += s[host]
		all += reads(s)
	}
	return all >= shareReads && float64(own) >= sharePart*float64(all)/float64(serving)
}
