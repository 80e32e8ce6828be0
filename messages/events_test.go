package messages_test

import (
	"testing"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

func TestAReturnSaysHowOftenItWasDialledOnlyIfItWas(t *testing.T) {
	head := messages.Header{Host: "db1:27017"}
	for _, c := range []struct {
		event messages.HostLive
		want  string
	}{
		{messages.HostLive{Header: head, Role: messages.RolePrimary}, "db1:27017 is live (primary)"},
		{messages.HostLive{Header: head, Role: messages.RoleSecondary, Down: 3 * time.Second}, "db1:27017 is live again (secondary) after 3s"},
		{messages.HostLive{Header: head, Role: messages.RoleSecondary, Down: 3 * time.Second, Attempts: 5},
			"db1:27017 is live again (secondary) after 3s and 5 attempts to connect"},
	} {
		if got := c.event.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
