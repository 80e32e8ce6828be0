package replset

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Latency draws how much longer a command takes. It is called by one goroutine at
// a time.
type Latency func(*rand.Rand) time.Duration

// Quantiles is a Latency that has the given values at the given parts of all
// draws, from 0 to 1: Quantiles(map[float64]time.Duration{0.5: 2 * time.Millisecond, 0.99: 40 *
// time.Millisecond, 1: time.Second}). Between two of them it is linear, below the lowest it goes
// down to 0, and above the highest it stays there. Values that do not rise with
// their parts panic.
func Quantiles(values map[float64]time.Duration) Latency {
	parts := slices.Sorted(maps.Keys(values))
	if len(parts) == 0 {
		panic("replset: Quantiles: there is none")
	}
	q := quantiles{parts: []float64{0}, values: []time.Duration{values[0]}}
	for _, part := range parts {
		value := values[part]
		switch {
		case !(part >= 0 && part <= 1):
			panic(fmt.Sprintf("replset: Quantiles: %v is not from 0 to 1", part))
		case value < 0:
			panic(fmt.Sprintf("replset: Quantiles: %v at %v is less than none", value, part))
		case value < q.values[len(q.values)-1]:
			panic(fmt.Sprintf("replset: Quantiles: %v at %v is less than what is before", value, part))
		case part > 0:
			q.parts, q.values = append(q.parts, part), append(q.values, value)
		}
	}
	return func(r *rand.Rand) time.Duration { return q.at(r.Float64()) }
}

type quantiles struct {
	parts  []float64 // rising, from 0
	values []time.Duration
}

func (q quantiles) at(part float64) time.Duration {
	i, exact := slices.BinarySearch(q.parts, part)
	switch {
	case exact:
		return q.values[i]
	case i == len(q.parts):
		return q.values[i-1]
	}
	way := (part - q.parts[i-1]) / (q.parts[i] - q.parts[i-1])
	return q.values[i-1] + time.Duration(math.Round(way*float64(q.values[i]-q.values[i-1])))
}
