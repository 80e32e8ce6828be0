// Package mongoconn makes MongoDB clients whose every socket is checked: the
// server that answers must be the member that was dialled.
//
// The driver checks that only for the monitor of a set-aware client, and for
// members that are no primary. Its direct clients never look at hello.me, and no
// socket of a connection pool is checked at all. Here the check sits in the
// dialer, which the driver uses for all sockets: a [Conn] holds the first reply
// back until it was read whole and verified, so that a stranger's socket fails
// before anything but the handshake's own greeting was sent over it.
//
// [OpenDirect] makes the client of one host, for a slave; [OpenSet] the set-aware
// one, for the master. Both use the driver's public API only.
package mongoconn
