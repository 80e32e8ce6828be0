package repl

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestDatabasesDifferInMoreThanTheCase(t *testing.T) {
	inCluster(t, 1, func(c *cluster) {
		_, err := c.node(0).Write(c.ctx, func(w Writer) error {
			one := raw(bson.D{{Key: "_id", Value: 1}})
			if err := w.Insert("game", "players", one); err != nil {
				return err
			}
			for _, db := range []string{"Game", "gamE", "Admin", "CONFIG", "Local"} {
				c.wantCode(w.Insert(db, "players", one), codeDatabaseDifferCase)
				c.wantCode(w.CreateCollection(db, "players", nil), codeDatabaseDifferCase)
				_, err := w.CreateIndex(db, "players", spec("a_1", bson.D{{Key: "a", Value: 1}}))
				c.wantCode(err, codeDatabaseDifferCase)
			}
			for _, ns := range [][2]string{{"game", "Players"}, {"games", "players"}, {"straße", "players"}, {"STRASSE", "players"}, {"admin", "players"}} {
				if err := w.Insert(ns[0], ns[1], one); err != nil {
					t.Errorf("%v: %v", ns, err)
				}
			}
			if err := w.DropDatabase("game"); err != nil {
				return err
			}
			return w.Insert("Game", "players", one)
		})
		if err != nil {
			t.Error(err)
		}
	})
}
