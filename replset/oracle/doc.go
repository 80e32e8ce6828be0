// Package oracle asks another server that speaks MongoDB's protocol, FerretDB, what package replset should
// have answered. It is a module of its own, so that nobody else has to download what FerretDB is made of:
//
//	cd replset/oracle && go test .
//
// The first run builds it, which takes minutes. Where the two differ, MongoDB's own documentation says who is
// right; where that is replset, differences.go says so.
package oracle
