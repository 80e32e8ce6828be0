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
// # Faults
//
// Faults are methods.
//
//	of a member's process   Kill, Restart, RestartStandalone, Resync, Freeze, SetMaintenance, Lag
//	of its network          SetLink: a black hole, mute, or deaf, without an end or a reset
//	of single commands      Cut before, after or within; Delay, Slow; Overload; RefuseConnections
//	of the set              Partition, StepDown, Add, Remove, Return, Configure, Hide, Delay
//	of its addresses        SwapAddresses, Alternate, Impersonate
//
// Faults of commands are for some of them, for one application, for a share, or a
// number of times: see [Target]. The command configureFailPoint is there as well, with
// failCommand and onPrimaryTransactionalWrite.
//
// Replication goes through this process, not through sockets: what a fault does to
// a client's connections, and what Partition does between members, are separate
// things. Nothing is written to a file.
//
// # What it does, and what it refuses
//
//	                 as a server                             refused, or different
//	protocol         OP_MSG, OP_QUERY for hello, TLS,        compression is not offered
//	                 streaming hello
//	logins           SCRAM-SHA-1 and -256, X.509             roles: who is in may do everything
//	members          hidden, delayed, arbiters, passive,     chained replication; a member too
//	                 without a vote, with tags               far behind copies the data, and is not stuck
//	elections        terms, dry runs, priorities,            the times scale with Options.ElectionTimeout;
//	                 takeovers, catching up, stepping down   catch-up takeovers
//	replication      oplog in local, rollback, initial       rolled back documents are not kept in files
//	                 sync, majority commit point
//	config           one change at a time, newly added       replSetReconfig and setDefaultRWConcern:
//	                 members without a vote                  changes are methods
//	write concern    w, majority, wtimeout, the implicit     custom modes; j waits for nothing, since
//	                 default of sets with arbiters           nothing is on a disk
//	read concern     local, available, majority,             linearizable, snapshot
//	                 afterClusterTime
//	writes           insert, update, delete, findAndModify,  validators; variables (let) and
//	                 bulkWrite, retryable ones; all update   constants, collations
//	                 operators, pipelines, arrayFilters
//	collections      create, drop, list                      capped, clustered, time series, views;
//	                                                         collMod, renameCollection
//	queries          all operators on values and arrays,     $where, $text, $jsonSchema, geospatial ones;
//	                 $expr; projections, also computed       a.$ in a projection; collations, let,
//	                                                         min and max, returnKey, showRecordId
//	aggregation      $match, $project, $set, $unset, $sort,  $lookup, $facet, $bucket, $out, $merge,
//	                 $limit, $skip, $group, $unwind,         $graphLookup, $setWindowFields and the rest
//	                 $count, $sample, $replaceRoot,
//	                 $sortByCount, $collStats
//	expressions      comparison, logic, arithmetic, arrays,  dates but $add and $subtract, conversions,
//	                 sets, objects, strings, variables       regular expressions, trigonometry, $setField
//	indexes          unique and sparse ones are enforced     none but _id makes a query faster; partial,
//	                                                         TTL, text, hashed, geospatial, wildcard and
//	                                                         hidden ones, and those with a collation
//	transactions     retryable writes                        transactions of several documents
//	change streams                                           all
//
// What a server of the version has and this one has not, be it a command, a stage or an
// operator, is refused as NotImplemented (238), or with a message that says "not supported";
// what no server has is refused as a server does it. Where the way a server behaves was taken from its source and not from its
// manual, a comment beside the code says so.
package replset
