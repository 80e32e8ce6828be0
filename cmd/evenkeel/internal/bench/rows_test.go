package bench

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// promised are the ids that programs rely on.
const promised = `point_reads_1 point_reads_16 point_reads_64 point_reads_256 point_reads_1000 range_reads_16 range_reads_64
	inserts_1 inserts_16 inserts_64 inserts_256 updates_1 updates_16 updates_64 updates_256
	inserts_64_lanes updates_64_lanes inserts_256_lanes updates_256_lanes serial_inserts_256 one_reader one_writer
	read_healthy_p50 read_healthy_p99 read_healthy_p99.9 slow_member_p99 frozen_member_max frozen_member_p99 returned_member_ms
	write_gap_stepdown_ms write_gap_kill_ms router_ns read_cpu_256 read_allocs_1 read_allocs_256 read_commands_256
	insert_cpu_256 insert_allocs_1 insert_allocs_256 insert_commands_256 update_cpu_256 update_allocs_1 update_allocs_256 update_commands_256`

func TestEveryRowHasItsIDOnceAndASentence(t *testing.T) {
	var ids []string
	for _, r := range Rows() {
		ids = append(ids, r.ID)
		if len(r.Does) < 10 || r.Unit == "" || strings.ContainsAny(r.Does, "\n%") && !strings.Contains(r.Does, "% ") {
			t.Errorf("%+v", r)
		}
	}
	want := strings.Fields(promised)
	slices.Sort(want)
	slices.Sort(ids)
	if !slices.Equal(ids, want) {
		t.Errorf("the ids are\n%v, not\n%v", ids, want)
	}
}

func TestOnlyWhatIsAskedForIsPlayed(t *testing.T) {
	some, err := chosen([]string{"read_cpu_256", "router_ns", "point_reads_256"})
	if err != nil || len(some) != 2 || some[0].rows[0].ID != "point_reads_256" || some[1].rows[0].ID != "router_ns" {
		t.Errorf("%d scenarios, %v", len(some), err)
	}
	if _, err := chosen([]string{"router_ns", "teapot"}); err == nil || !strings.Contains(err.Error(), "teapot") {
		t.Errorf("an id that there is not: %v", err)
	}
}

func TestAllRowsOfAScenarioAreFilled(t *testing.T) {
	for _, s := range scenarios() {
		c, err := s.open(&stage{})
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := c.(*closedContest); ok && len(c.rows) != len(c.load.fills) {
			t.Errorf("%s: %d things are looked at", titles(s.rows), len(c.load.fills))
		}
	}
}

func TestAPlayerHasAbout300Bytes(t *testing.T) {
	doc, err := bson.Marshal(newPlayer(newID(), 1))
	if err != nil || len(doc) < 280 || len(doc) > 320 {
		t.Errorf("%d bytes, %v", len(doc), err)
	}
}

func TestSettingsThatCanNeverWorkAreRefused(t *testing.T) {
	for _, s := range []Settings{
		{Only: []string{"teapot"}}, {Rounds: -1}, {Length: -1}, {Length: 2 * time.Hour}, {Rate: -1}, {Rate: 1e7},
		{Concern: "2"}, {DriverPool: -1}, {DriverHeartbeat: time.Millisecond},
	} {
		if s.Check() == nil {
			t.Errorf("%+v", s)
		}
	}
	if err := (&Settings{}).Check(); err != nil {
		t.Error(err)
	}
}

func TestTheDriverKeepsTheTagsAndTheStalenessOfTheURI(t *testing.T) {
	asked := options.Client().ApplyURI("mongodb://h/?replicaSet=r&readPreference=nearest&readPreferenceTags=dc:a&maxStalenessSeconds=90").ReadPreference
	got := secondaryPreferred(asked)
	staleness, _ := got.MaxStaleness()
	if got.Mode() != readpref.SecondaryPreferredMode || len(got.TagSets()) != 1 || staleness != 90*time.Second {
		t.Errorf("%v", got)
	}
	if got := secondaryPreferred(nil); got.Mode() != readpref.SecondaryPreferredMode || len(got.TagSets()) != 0 {
		t.Errorf("%v", got)
	}
}

func TestTheMemberWithTheMostNewConnectionsCounts(t *testing.T) {
	if n := more(map[string]int{"a": 10, "b": 2}, map[string]int{"a": 11, "b": 9, "c": 3}); n != 7 {
		t.Errorf("%d", n)
	}
}
