// Package bench compares evenkeel with the bare official driver, and is to be a fair
// judge of the two:
//
//   - Both run against the same server, in another process, in the same minutes: a row
//     is measured in rounds, each of which measures both sides, and the order in which
//     they come changes from round to round. Where a fault is survived (a member freezes,
//     the primary goes) both sides run at the same time and survive the very same
//     fault, since no two elections take the same time.
//   - A row's ratio is the median of the rounds' own ratios, evenkeel's value over the
//     driver's, and is shown with the least and the greatest of them.
//   - Both sides have the same documents, filters, deadlines, write concern and read
//     preference (secondaries, the primary for want of one), and neither decodes what
//     it need not. Every answer is checked; a wrong one is an error, errors count
//     for nothing, and are shown.
//   - The driver has its best configuration (see driver.go): as many connections as
//     evenkeel, or as many as suit it best where those are more.
//   - Throughput is measured in a closed loop: so many callers, each of which waits for
//     its answer. Latencies, but for those of one single caller, are measured in an open
//     loop: requests arrive at a fixed rate whatever becomes of the earlier ones, and a
//     latency counts from the intended arrival. A side that stands still for a second
//     is charged for all that arrived meanwhile.
package bench
