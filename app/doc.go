// Package app embeds evenkeel in a game server: reads spread evenly over the live
// members of a MongoDB replica set, writes in order, and events that say what
// happens to the hosts.
//
//	a, err := app.Start(ctx, app.Config{URI: "mongodb://db1,db2,db3/?replicaSet=rs0"})
//	if err != nil {
//		return err // what can never work; hosts that are down are no error
//	}
//	defer a.Stop(context.Background())
//
//	players := a.Collection("game", "players")
//	var p Player
//	err = players.FindOne(ctx, bson.D{{Key: "_id", Value: 7}}).Decode(&p)
//
// The methods of a Collection are the driver's. Actors of the game may send
// messages.Read to App.Router and messages.Write to App.Master instead, and get the
// same answers as messages. Both are spread, ordered and bounded alike.
package app
