package bench

import (
	"math"
	"slices"
	"strconv"
)

// Result is one row with its values. The ratio is left out of a row that only evenkeel
// has a value for, and of one that a side has given none for in any round.
type Result struct {
	ID string `json:"id"`
	// Ours and Driver are the medians of the rounds' values.
	Ours   float64 `json:"ours"`
	Driver float64 `json:"driver"`
	// Ratio is the median of the rounds' own ratios, evenkeel's value over the driver's;
	// Min and Max are the least and the greatest of them.
	Ratio *float64 `json:"ratio,omitempty"`
	Min   *float64 `json:"min,omitempty"`
	Max   *float64 `json:"max,omitempty"`
	Unit  string   `json:"unit"`
	// Lower says that lower values, and so ratios below 1, are the better ones.
	Lower  bool `json:"lower_is_better"`
	Rounds int  `json:"rounds"` // those with a ratio, or with a value of evenkeel's alone
	// OurErrors and DriverErrors count requests that failed or were answered wrongly, in
	// all rounds; those that are counted are in no value but a latency. Error is the text
	// of one.
	OurErrors    int64  `json:"our_errors,omitempty"`
	DriverErrors int64  `json:"driver_errors,omitempty"`
	Error        string `json:"error,omitempty"`
	// OurConnections and DriverConnections are how many were open to the member with the
	// most of them, where that was looked at.
	OurConnections    int `json:"our_connections,omitempty"`
	DriverConnections int `json:"driver_connections,omitempty"`
	// Note says what else there is to know.
	Note string `json:"note,omitempty"`
}

// outcome is what one side has shown in one round.
type outcome struct {
	values map[string]float64 // by row; one that is missing could not be measured
	errors int64
	err    error // one of them
}

func (o *outcome) failed(n int64, err error) {
	o.errors += n
	if err != nil {
		o.err = err
	}
}

// round is what both sides have shown.
type round struct{ ours, driver outcome }

// summarize makes a row's result of its rounds.
func summarize(row Row, rounds []round) Result {
	r := Result{ID: row.ID, Unit: row.Unit, Lower: row.Lower}
	var ours, driver, ratios []float64
	for _, one := range rounds {
		a, hasA := one.ours.values[row.ID]
		b, hasB := one.driver.values[row.ID]
		if hasA {
			ours = append(ours, a)
		}
		if hasB {
			driver = append(driver, b)
		}
		if hasA && hasB && b != 0 {
			ratios = append(ratios, a/b)
		}
		r.OurErrors += one.ours.errors
		r.DriverErrors += one.driver.errors
		for _, err := range []error{one.ours.err, one.driver.err} {
			if err != nil {
				r.Error = err.Error()
			}
		}
	}
	r.Ours, r.Driver = rounded(median(ours)), rounded(median(driver))
	r.Rounds = len(ratios)
	if len(driver) == 0 {
		r.Rounds = len(ours)
	}
	if len(ratios) > 0 {
		mid, least, most := rounded(median(ratios)), rounded(slices.Min(ratios)), rounded(slices.Max(ratios))
		r.Ratio, r.Min, r.Max = &mid, &least, &most
	}
	return r
}

// even is how far from 1 a ratio may be to be called no difference.
const even = 0.02

// Verdict says who does better, in words.
func (r *Result) Verdict() string {
	if r.Ratio == nil {
		return ""
	}
	mid, least, most := *r.Ratio, *r.Min, *r.Max
	if r.Lower { // Turned around, so that more is better.
		mid, least, most = inverse(mid), inverse(most), inverse(least)
	}
	switch {
	case math.Abs(mid-1) <= even:
		return "even"
	case mid > 1 && least > 1:
		return "better"
	case mid > 1:
		return "better, not in every round"
	case most < 1:
		return "WORSE"
	}
	return "WORSE, not in every round"
}

func inverse(x float64) float64 {
	if x == 0 {
		return math.Inf(1)
	}
	return 1 / x
}

// median is that of values, the mean of the two in the middle where there are two; 0 of
// none.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// rounded leaves four significant figures, which is more than was measured.
func rounded(x float64) float64 {
	to, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64)
	if err != nil {
		return 0 // Infinite, or no number: nothing that JSON has.
	}
	return to
}
