package replset

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

func hello(t testing.TB, client *mongo.Client) bson.Raw {
	t.Helper()
	raw, err := client.Database("admin").RunCommand(soon(t), bson.D{{Key: "hello", Value: 1}}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAKilledMemberRefusesConnectionsAndKeepsItsPort(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member(1)
	host := m.Host()
	open, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	eventually(t, "it is served", func() bool { return m.Counters().Connections > 0 })
	m.Kill()
	_ = open.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v", err)
	}
	for range 20 {
		if nc, err := net.Dial("tcp", host); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("a dial got %v, %v", nc, err)
		}
	}
	// Nobody else gets the port meanwhile.
	if l, err := net.Listen("tcp", host); err == nil {
		l.Close()
		t.Error("the port of a killed member is free")
	}
	m.Kill() // again is fine
	if m.Running() {
		t.Error("it runs")
	}
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	if m.Host() != host || !m.Running() {
		t.Error("it came back elsewhere")
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
}

func TestAFrozenMemberAcceptsAndDoesNotAnswer(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member(2)
	client := direct(t, m)
	hello(t, client)
	m.Freeze()
	nc, err := net.Dial("tcp", m.Host())
	if err != nil {
		t.Fatalf("a frozen member's address refuses: %v", err)
	}
	nc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx, nil); err == nil {
		t.Error("a frozen member answers")
	}
	m.Unfreeze()
	if err := client.Ping(soon(t), nil); err != nil {
		t.Error(err)
	}
	m.Freeze()
	m.Kill()
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Errorf("a member that was killed frozen came back frozen: %v", err)
	}
}

func TestAMemberThatFrozeInTheMiddleOfACommandCanBeKilled(t *testing.T) {
	set := steady(t, Options{})
	for _, m := range set.Members() {
		m.Lag(time.Hour)
	}
	primary := primaryOf(t, set)
	if _, err := w1(connect(t, set.URI())).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	client := direct(t, primary)
	hello(t, client)
	done := make(chan error, 1)
	go func() {
		done <- client.Database("admin").RunCommand(soon(t), bson.D{{Key: "replSetStepDown", Value: 60}}).Err()
	}()
	eventually(t, "the step down waits for a secondary", func() bool { return !primary.IsPrimary() })
	primary.Freeze()
	primary.Kill()
	if err := <-done; !mongo.IsNetworkError(err) {
		t.Errorf("the command that was cut off ended with %v", err)
	}
}

func TestAMemberInMaintenanceRefusesReads(t *testing.T) {
	set := steady(t, Options{})
	if err := primaryOf(t, set).SetMaintenance(true); err == nil {
		t.Error("a primary went into maintenance")
	}
	m := set.Member((primaryOf(t, set).Index() + 1) % 3)
	if err := m.SetMaintenance(true); err != nil {
		t.Fatal(err)
	}
	client := direct(t, m)
	// As a command, which the driver does not retry.
	err := client.Database("game").RunCommand(soon(t), bson.D{{Key: "find", Value: "players"}}).Err()
	var refused mongo.CommandError
	if !errors.As(err, &refused) || refused.Code != 13436 {
		t.Errorf("a read ended with %v", err)
	}
	if h := hello(t, client); h.Lookup("secondary").Boolean() || h.Lookup("isWritablePrimary").Boolean() {
		t.Errorf("hello says %v", h)
	}
	if err := m.SetMaintenance(false); err != nil || !m.IsSecondary() {
		t.Errorf("after maintenance: %v", err)
	}
}

func TestAnOperatorPutsAMemberIntoMaintenanceByACommand(t *testing.T) {
	set := steady(t, Options{})
	primary := primaryOf(t, set)
	m := set.Member((primary.Index() + 1) % 3)
	maintain := func(m *Member, on bool) int32 {
		t.Helper()
		err := direct(t, m).Database("admin").RunCommand(soon(t), bson.D{{Key: "replSetMaintenance", Value: on}}).Err()
		var refused mongo.CommandError
		if errors.As(err, &refused) {
			return refused.Code
		}
		if err != nil {
			t.Fatal(err)
		}
		return 0
	}
	if code := maintain(primary, true); code != 95 {
		t.Errorf("a primary is refused with %d", code)
	}
	if code := maintain(m, false); code != 96 {
		t.Errorf("the end of no maintenance is refused with %d", code)
	}
	if code := maintain(m, true); code != 0 || m.State() != "RECOVERING" {
		t.Errorf("into maintenance: code %d, and then %s", code, m.State())
	}
	if code := maintain(m, false); code != 0 || !m.IsSecondary() {
		t.Errorf("out of maintenance: code %d, and then %s", code, m.State())
	}
}

func TestAMemberRestartedAsAStandaloneSaysSo(t *testing.T) {
	set := steady(t, Options{})
	if _, err := players(connect(t, set.URI())).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	m := set.Member((primaryOf(t, set).Index() + 1) % 3)
	if err := m.RestartStandalone(); err != nil {
		t.Fatal(err)
	}
	client := direct(t, m)
	if h := hello(t, client); !h.Lookup("isWritablePrimary").Boolean() || h.Lookup("setName").Type != 0 {
		t.Errorf("hello says %v", h)
	}
	if n := number(t, players(client), bson.D{}); n != 1 {
		t.Errorf("it has %d documents", n)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Errorf("a standalone is waited for: %v", err)
	}
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil || !m.IsSecondary() {
		t.Errorf("it did not come back: %v", err)
	}
}

func TestSlowTakesLongerAlsoAfterARestart(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member(0)
	m.Slow("ping", 50*time.Millisecond)
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	client := direct(t, m)
	hello(t, client)
	began := time.Now()
	if err := client.Database("admin").RunCommand(soon(t), bson.D{{Key: "ping", Value: 1}}).Err(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("the ping took %v", took)
	}
}

func TestALaggingMemberHasOldData(t *testing.T) {
	set := steady(t, Options{})
	m := set.Member((primaryOf(t, set).Index() + 1) % 3)
	m.Lag(time.Hour)
	if _, err := players(connect(t, set.URI())).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if n := number(t, players(direct(t, m)), bson.D{}); n != 0 {
		t.Errorf("it has %d documents", n)
	}
	m.Lag(0)
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if n := number(t, players(direct(t, m)), bson.D{}); n != 1 {
		t.Errorf("it has %d documents after the lag", n)
	}
}

func TestAStandaloneServes(t *testing.T) {
	set := steady(t, Options{Standalone: true})
	client := connect(t, set.URI())
	if _, err := players(client).InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if set.Name() != "" || set.Primary() != set.Member(0) {
		t.Error("a standalone is no set, but writes")
	}
	if err := set.Member(0).Restart(); err != nil {
		t.Fatal(err)
	}
	if n := number(t, players(client), bson.D{}); n != 1 {
		t.Errorf("%d documents after a restart", n)
	}
	if err := set.AwaitSecondaries(soon(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := set.Add(soon(t)); err == nil {
		t.Error("a standalone took a second member")
	}
	if err := set.StepDown(soon(t)); err == nil {
		t.Error("a standalone stepped down")
	}
}

func TestSevenMembersElectOneAndAddNoEighth(t *testing.T) {
	set := steady(t, Options{Members: 7})
	if _, err := set.Add(soon(t)); err == nil {
		t.Error("there is an eighth")
	}
}
