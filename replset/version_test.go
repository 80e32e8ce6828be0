package replset

import (
	"errors"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestTheDriverUsesASetOfAnyVersion(t *testing.T) {
	for _, version := range []string{"4.4", "5.0", "6.0", "7.0", "8.0"} {
		set := steady(t, Options{Version: version})
		var max atomic.Int32
		client := connect(t, set.URI(), func(o *options.ClientOptions) {
			o.SetServerMonitor(&event.ServerMonitor{ServerDescriptionChanged: func(e *event.ServerDescriptionChangedEvent) {
				max.Store(e.NewDescription.MaxWireVersion)
			}})
		})
		coll := client.Database("game").Collection("players")
		if _, err := coll.InsertOne(soon(t), bson.D{{Key: "_id", Value: 1}}); err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		if n := number(t, coll, bson.D{}); n != 1 {
			t.Errorf("%s: %d", version, n)
		}
		if want := map[string]int32{"4.4": 9, "5.0": 13, "6.0": 17, "7.0": 21, "8.0": 25}[version]; max.Load() != want {
			t.Errorf("%s: wire version %d", version, max.Load())
		}
		var refused mongo.ServerError
		_, err := client.BulkWrite(soon(t), []mongo.ClientBulkWrite{bulkInsert("a", 1)})
		if newest := version == DefaultVersion; newest != (err == nil) || !newest && (!errors.As(err, &refused) || !refused.HasErrorCode(59)) {
			t.Errorf("%s: %v", version, err)
		}
	}
	if _, err := Start(Options{Version: "3.6"}); err == nil || err.Error() != `replset: Options.Version: "3.6" is none of "4.4", "5.0", "6.0", "7.0", "8.0"` {
		t.Error(err)
	}
}
