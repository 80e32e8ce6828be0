package replset

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestWhatClientsLedToTheWrongMemberExecuteIsCountedAsAstrayThere(t *testing.T) {
	set := steady(t, Options{})
	a, b := set.Member(0), set.Member(1)
	reader := connect(t, "mongodb://"+a.Host()+"/?directConnection=true&connectTimeoutMS=500", func(o *options.ClientOptions) { o.SetAppName("reader") })
	coll := reader.Database("game").Collection("players")

	number(t, coll, bson.D{})
	if got := a.Counters(); got.ByApp["reader"].Reads != 1 || len(got.Astray) != 0 {
		t.Errorf("before the swap %v has counted %+v by app and %+v astray", a, got.ByApp, got.Astray)
	}
	if err := set.SwapAddresses(0, 1); err != nil {
		t.Fatal(err)
	}
	number(t, coll, bson.D{}) // Its read is retried when the swap's reset meets it.
	if got := b.Counters(); got.ByApp["reader"].Reads != 1 || got.Astray["reader"].Reads != 1 || got.Astray["reader"].Commands["aggregate"] != 1 {
		t.Errorf("after the swap %v has counted %+v by app and %+v astray; want 1 read that is both", b, got.ByApp, got.Astray)
	}

	b.Kill()
	if got := b.Counters().Astray["reader"].Reads; got != 1 {
		t.Errorf("a kill changed the astray reads to %d", got)
	}
	if got := a.Counters().Astray["reader"].Reads; got != 0 {
		t.Errorf("%v has counted %d astray reads of a client that never was led there", a, got)
	}
}

func TestAStrangerCountsWhatItExecutesForClientsOfTheSetItImpersonates(t *testing.T) {
	set, stranger := steady(t, Options{}), steady(t, Options{Members: 1, Name: "other"})
	if err := set.Impersonate(2, stranger.Member(0)); err != nil {
		t.Fatal(err)
	}
	reader := connect(t, "mongodb://"+set.Member(2).Host()+"/?directConnection=true&connectTimeoutMS=500", func(o *options.ClientOptions) { o.SetAppName("reader") })
	number(t, reader.Database("game").Collection("players"), bson.D{})
	if got := stranger.Member(0).Counters().Astray["reader"].Reads; got != 1 {
		t.Errorf("the stranger has counted %d astray reads, not 1", got)
	}
	if got := set.Member(2).Counters().ByApp["reader"].Reads; got != 0 {
		t.Errorf("the impersonated member has counted %d reads that it did not get", got)
	}
}
