package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/replset"
)

// What the driver puts into its events must go on having the fields that are looked for.
func TestTheErrorInAnEventIsKnownByItsFields(t *testing.T) {
	set, err := replset.Start(replset.Options{Members: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Stop()
	var failures []error
	client, err := mongo.Connect(options.Client().ApplyURI(set.URI()).SetRetryWrites(false).SetMonitor(&event.CommandMonitor{
		Failed: func(_ context.Context, e *event.CommandFailedEvent) { failures = append(failures, e.Failure) },
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	admin := client.Database("admin")
	point := bson.D{
		{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: bson.D{{Key: "times", Value: 1}}},
		{Key: "data", Value: bson.D{
			{Key: "failCommands", Value: bson.A{"insert"}}, {Key: "errorCode", Value: 11602}, {Key: "errorLabels", Value: bson.A{"RetryableWriteError", "Another"}},
		}},
	}
	if err := admin.RunCommand(t.Context(), point).Err(); err != nil {
		t.Fatal(err)
	}
	_, told := client.Database("game").Collection("players").InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}})
	if len(failures) != 1 || told == nil {
		t.Fatalf("%d failures were told, and the insert's error is %v", len(failures), told)
	}
	got := ServerErrorOf(fmt.Errorf("wrapped: %w", failures[0]))
	if got == nil || got.Code != 11602 || got.Name != "InterruptedDueToReplStateChange" || got.Message == "" || !got.HasErrorLabel("RetryableWriteError") ||
		!slices.Contains(got.Labels, "Another") || got.Raw.Lookup("code").AsInt64() != 11602 || got.Err.Error() != failures[0].Error() {
		t.Errorf("from %#v: %+v", failures[0], got)
	}
	var public mongo.CommandError
	if !errors.As(told, &public) || got.CommandError().Code != public.Code || got.CommandError().Message != public.Message || got.CommandError().Name != public.Name {
		t.Errorf("%+v, and the driver itself says %+v", got.CommandError(), told)
	}

	for _, err := range []error{nil, errors.New("x"), context.Canceled, mongo.ErrNoDocuments} {
		if got := ServerErrorOf(err); got != nil {
			t.Errorf("%v is taken for %+v", err, got)
		}
	}
}
