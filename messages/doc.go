// Package messages is what evenkeel's actors say to each other and to the game:
// the Read and the Write, their operations and replies, the events, the errors.
//
// A game's actor sends a Read to the app's router, or a Write to its master, and
// gets exactly one reply:
//
//	system.Root.RequestWithCustomSender(app.Router(), &messages.Read{
//		Database:   "game",
//		Collection: "players",
//		Operation:  messages.FindOne{Filter: bson.D{{Key: "_id", Value: 7}}},
//	}, self)
//	// … later, in Receive: case *messages.ReadReply
//
// What a message holds is encoded in the sender's goroutine, before Send
// returns: the game may go on changing its own maps at once.
//
// The package has no behaviour and holds no client.
package messages
