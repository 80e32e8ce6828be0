// Package replset runs a MongoDB replica set inside this process, for tests,
// demos and benchmarks. Each member is a server of its own on a loopback port, with its own
// copy of the data, and clients take it for the real thing: replication, elections,
// rollback, sessions, retryable writes and write concerns work. What it does not
// support it refuses with the server's own error code. Options.Version says which version
// of the server it is taken for.
//
//	set, err := replset.Start(replset.Options{Members: 3})
//	if err != nil {
//		return err
//	}
//	defer set.Stop()
//	client, err := mongo.Connect(options.Client().ApplyURI(set.URI()))
//
// Faults are methods: a [Member] can be killed, restarted, frozen, slowed or made
// to lag, a [Set] partitioned, and its addresses made to reach the wrong member.
//
// Replication goes through this process, not through sockets: what a fault does to
// a client's connections, and what Partition does between members, are separate
// things. Nothing is written to a file.
package replset
