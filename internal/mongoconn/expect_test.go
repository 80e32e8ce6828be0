package mongoconn

import (
	"errors"
	"net"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

func TestWhoAnswersIsJudgedByNameAndSet(t *testing.T) {
	at := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 27017}
	learned := new(SetName)
	learned.Learn("rs0")
	for _, c := range []struct {
		name   string
		expect Expect
		hello  bson.D
		// field of the WrongHostError, "member" for a NotMemberError, "hello" for a
		// HelloError, "" for none
		wrong string
	}{
		{"the member itself", Expect{Address: "a:1", SetName: "rs0"}, member("a:1", "rs0"), ""},
		{"in capitals", Expect{Address: "A.Test:1", SetName: "rs0"}, member("a.TEST:1", "rs0"), ""},
		{"the default port left out", Expect{Address: "a", SetName: "rs0"}, member("a:27017", "rs0"), ""},
		{"the default port left out there", Expect{Address: "a:27017", SetName: "rs0"}, member("a", "rs0"), ""},
		{"another member", Expect{Address: "a:1", SetName: "rs0"}, member("b:1", "rs0"), "me"},
		{"another port", Expect{Address: "a:1", SetName: "rs0"}, member("a:2", "rs0"), "me"},
		{"another set", Expect{Address: "a:1", SetName: "rs0"}, member("a:1", "rs1"), "setName"},
		{"another set than was learned", Expect{Address: "a:1", Learned: learned}, member("a:1", "rs1"), "setName"},
		{"any set", Expect{Address: "a:1"}, member("a:1", "rs1"), ""},
		{"a set's name differs in capitals", Expect{Address: "a:1", SetName: "rs0"}, member("a:1", "RS0"), "setName"},
		{"an alias", Expect{Address: "a:1", SetName: "rs0", Aliases: map[string]string{"A:1": "inner:9"}}, member("Inner:9", "rs0"), ""},
		{"its own name despite an alias", Expect{Address: "a:1", Aliases: map[string]string{"a:1": "inner:9"}}, member("a:1", "rs0"), ""},
		{"somebody else's alias", Expect{Address: "a:1", Aliases: map[string]string{"b:1": "inner:9"}}, member("inner:9", "rs0"), "me"},
		{"no name", Expect{Address: "a:1"}, member("a:1", "rs0", bson.E{Key: "me"}), "me"},
		{"an empty name", Expect{Address: "a:1"}, member("", "rs0"), "me"},
		{"a name that is a number", Expect{Address: "a:1"}, member("a:1", "rs0", bson.E{Key: "me", Value: 7}), "protocol"},
		{"a mongos", Expect{Address: "a:1", AllowStandalone: true}, with(standalone(), bson.E{Key: "msg", Value: "isdbgrid"}), "kind"},
		{"a standalone", Expect{Address: "a:1", AllowStandalone: true}, standalone(), ""},
		{"a standalone that is not welcome", Expect{Address: "a:1"}, standalone(), "setName"},
		{"a standalone where a set is named", Expect{Address: "a:1", SetName: "rs0", AllowStandalone: true}, standalone(), "setName"},
		{"a standalone where a set was seen", Expect{Address: "a:1", Learned: learned, AllowStandalone: true}, standalone(), "setName"},
		{"a ghost", Expect{Address: "a:1", SetName: "rs0"}, ghost(), "member"},
		{"a ghost where a standalone is welcome", Expect{Address: "a:1", AllowStandalone: true}, ghost(), "member"},
		{"a server shutting down", Expect{Address: "a:1"}, bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "bye"}, {Key: "code", Value: 91}}, "hello"},
		{"no answer to the question", Expect{Address: "a:1"}, bson.D{}, "hello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := c.expect.Check(raw(t, c.hello), at)
			var wrong *messages.WrongHostError
			var notMember *NotMemberError
			var hello *HelloError
			got := ""
			switch {
			case errors.As(err, &wrong):
				got = wrong.Field
				if wrong.Remote != at.String() || wrong.Address != c.expect.Address {
					t.Errorf("the error does not say who was dialled or who answered: %v", err)
				}
			case errors.As(err, &notMember):
				got = "member"
			case errors.As(err, &hello):
				got = "hello"
			case err != nil:
				t.Fatal(err)
			}
			if got != c.wrong {
				t.Fatalf("got %q (%v), want %q", got, err, c.wrong)
			}
			if IsRefusal(err) != (got != "" && got != "hello") {
				t.Errorf("IsRefusal(%v) is %v", err, IsRefusal(err))
			}
			if err == nil && (id.ProcessID.IsZero() || id.Standalone != (id.SetName == "")) {
				t.Errorf("identity %+v", id)
			}
		})
	}
}

func TestTheFirstVerifiedSetNameBindsAllHosts(t *testing.T) {
	learned := new(SetName)
	a := Expect{Address: "a:1", Learned: learned}
	b := Expect{Address: "b:1", Learned: learned}
	// A stranger teaches nothing.
	if _, err := a.Check(raw(t, member("c:1", "other")), nil); err == nil || learned.Get() != "" {
		t.Fatalf("after a stranger the set's name is %q (%v)", learned.Get(), err)
	}
	if _, err := a.Check(raw(t, member("a:1", "rs0")), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Check(raw(t, member("b:1", "other")), nil); !errors.Is(err, messages.ErrWrongHost) {
		t.Errorf("a member of another set is taken: %v", err)
	}
	if _, err := b.Check(raw(t, member("b:1", "rs0")), nil); err != nil {
		t.Error(err)
	}
}
