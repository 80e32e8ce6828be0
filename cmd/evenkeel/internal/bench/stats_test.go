package bench

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
)

func TestTheMedianIsTheOneInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{7}, 7}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 100, 2}, 3}} {
		before := slices.Clone(c.of)
		if got := median(c.of); got != c.want || !slices.Equal(c.of, before) {
			t.Errorf("median of %v is %v, not %v; now %v", before, got, c.want, c.of)
		}
	}
}

// rounds pairs up the two sides' values.
func rounds(id string, ours, driver []float64) []round {
	var all []round
	for i := range ours {
		all = append(all, round{
			ours:   outcome{values: map[string]float64{id: ours[i]}},
			driver: outcome{values: map[string]float64{id: driver[i]}},
		})
	}
	return all
}

func TestTheRatioIsTheMedianOfTheRoundsOwnRatios(t *testing.T) {
	// A machine that is slow in some rounds is slow for both: the ratio of the medians
	// would be 20/20.
	r := summarize(Row{ID: "x", Unit: perSecond}, rounds("x", []float64{20, 2, 40, 20, 10}, []float64{10, 1, 20, 40, 20}))
	if r.Ours != 20 || r.Driver != 20 || *r.Ratio != 2 || *r.Min != 0.5 || *r.Max != 2 || r.Rounds != 5 {
		t.Errorf("%+v, ratio %v of %v to %v", r, *r.Ratio, *r.Min, *r.Max)
	}
}

func TestARowOfOneSideAloneHasNoRatio(t *testing.T) {
	only := []round{{ours: outcome{values: map[string]float64{"x": 3}}}, {ours: outcome{values: map[string]float64{"x": 5}}}}
	r := summarize(Row{ID: "x"}, only)
	if r.Ratio != nil || r.Min != nil || r.Max != nil || r.Ours != 4 || r.Driver != 0 || r.Rounds != 2 || r.Verdict() != "" {
		t.Errorf("%+v", r)
	}
	// Nor has one whose driver has done nothing at all.
	if r := summarize(Row{ID: "x"}, rounds("x", []float64{3}, []float64{0})); r.Ratio != nil || r.Rounds != 0 {
		t.Errorf("%+v", r)
	}
}

func TestARoundThatASideHasNoValueForIsInNoRatioAndItsErrorsAreCounted(t *testing.T) {
	all := rounds("x", []float64{2, 2, 2}, []float64{1, 4, 1})
	all[1].driver.values = nil
	all[1].driver.failed(7, errors.New("no answer"))
	all[2].ours.failed(2, nil)
	r := summarize(Row{ID: "x"}, all)
	if r.Rounds != 2 || *r.Min != 2 || r.OurErrors != 2 || r.DriverErrors != 7 || r.Error != "no answer" {
		t.Errorf("%+v, min %v", r, *r.Min)
	}
}

func TestTheVerdictSaysWhenEvenkeelLoses(t *testing.T) {
	for _, c := range []struct {
		mid, least, most float64
		lower            bool
		want             string
	}{
		{2, 1.5, 3, false, "better"},
		{2, 0.9, 3, false, "better, not in every round"},
		{0.5, 0.4, 0.6, false, "WORSE"},
		{0.5, 0.4, 1.1, false, "WORSE, not in every round"},
		{1.01, 0.5, 2, false, "even"},
		{0.5, 0.4, 0.6, true, "better"},
		{0.5, 0.4, 1.1, true, "better, not in every round"},
		{2, 1.5, 3, true, "WORSE"},
		{2, 0.9, 3, true, "WORSE, not in every round"},
		{0.99, 0.5, 2, true, "even"},
		{0, 0, 0, false, "WORSE"},
	} {
		r := Result{Ratio: &c.mid, Min: &c.least, Max: &c.most, Lower: c.lower}
		if got := r.Verdict(); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestTheReportInJSONHasWhatProgramsLookFor(t *testing.T) {
	report := Report{Rounds: 5, Machine: Machine{CPUs: 2}, Results: []Result{
		summarize(Row{ID: "point_reads_256", Unit: perSecond}, rounds("point_reads_256", []float64{123.456789}, []float64{100})),
		summarize(Row{ID: "router_ns", Unit: nanos}, []round{{ours: outcome{values: map[string]float64{"router_ns": 90}}}}),
	}}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Machine map[string]any
		Rounds  int
		Results []map[string]any
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Rounds != 5 || got.Machine["cpus"] != 2.0 || len(got.Results) != 2 {
		t.Fatalf("%s", text)
	}
	for key, want := range map[string]any{"id": "point_reads_256", "ours": 123.5, "driver": 100.0, "ratio": 1.235, "min": 1.235, "max": 1.235, "unit": "1/s"} {
		if got.Results[0][key] != want {
			t.Errorf("%s is %v, not %v", key, got.Results[0][key], want)
		}
	}
	alone := got.Results[1]
	for _, key := range []string{"ratio", "min", "max", "our_errors", "error", "note"} {
		if v, there := alone[key]; there {
			t.Errorf("%s is there: %v", key, v)
		}
	}
	if alone["driver"] != 0.0 || alone["ours"] != 90.0 {
		t.Errorf("%v", alone)
	}
}
