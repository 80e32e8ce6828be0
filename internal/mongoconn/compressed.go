package mongoconn

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

// zstdDecoder decompresses no more than what there is room for, which the driver's own
// decoder does not observe: 40 kB of zstd become gigabytes there.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true))
})

var errSize = errors.New("it has another size than it says")

// decompress returns the message that is in a whole OP_COMPRESSED. It makes room for as much as
// that says it has, up to limit, and no more.
func decompress(msg []byte, limit int) ([]byte, error) {
	body := msg[headerSize:]
	opcode, size := binary.LittleEndian.Uint32(body), int(int32(binary.LittleEndian.Uint32(body[4:])))
	packed := body[9:]
	if opcode != opMsg {
		return nil, fmt.Errorf("it holds opcode %d", opcode)
	}
	if size < seen-headerSize || size > limit-headerSize {
		return nil, fmt.Errorf("it holds %d bytes", size)
	}
	var fill func(out []byte) error // fills it to the last byte
	switch id := body[8]; id {
	case 0:
		fill = func(out []byte) error {
			if len(packed) != len(out) {
				return errSize
			}
			copy(out, packed)
			return nil
		}
	case 1:
		if n, err := snappy.DecodedLen(packed); err != nil || n != size {
			return nil, errSize
		}
		fill = func(out []byte) error {
			_, err := snappy.Decode(out, packed)
			return err
		}
	case 2:
		r, err := zlib.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		fill = func(out []byte) error {
			_, err := io.ReadFull(r, out)
			return err
		}
	case 3:
		d, err := zstdDecoder()
		if err != nil {
			return nil, err
		}
		fill = func(out []byte) error {
			got, err := d.DecodeAll(packed, out[:0])
			if err == nil && len(got) != len(out) {
				err = errSize
			}
			return err
		}
	default:
		return nil, fmt.Errorf("its compressor is %d", id)
	}
	plain := make([]byte, headerSize+size)
	if err := fill(plain[headerSize:]); err != nil {
		return nil, err
	}
	copy(plain, msg[:headerSize])
	binary.LittleEndian.PutUint32(plain, uint32(len(plain)))
	binary.LittleEndian.PutUint32(plain[12:], opMsg)
	if _, got := checkMsg(plain, len(plain)); got != "" {
		return nil, errors.New(got)
	}
	return plain, nil
}
