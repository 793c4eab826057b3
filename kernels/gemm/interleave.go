package gemm

import (
	"encoding/binary"
	"unsafe"
)

var le = binary.LittleEndian

// Packing of bytes into panels [group of k][column][k within the group], for groups of 2 and 4. flip is xored to each byte.

// packColumns packs columns of B that are rows of b, ldb apart.
func packColumns(panel []uint8, width, group int, b []uint8, ldb, k, columns int, flip uint8) {
	wide := uint32(flip) * 0x01010101
	for j := range columns {
		column := b[j*ldb:][:k]
		to := j * group
		for len(column) >= group {
			if group == 4 {
				le.PutUint32(panel[to:], le.Uint32(column)^wide)
			} else {
				le.PutUint16(panel[to:], le.Uint16(column)^uint16(wide))
			}
			column, to = column[group:], to+group*width
		}
		for t, code := range column {
			panel[to+t] = code ^ flip
		}
	}
}

// packRows packs rows of b, ldb apart.
func packRows(panel []uint8, width, group int, b []uint8, ldb, k, columns int, flip uint8) {
	var missing [64]uint8 // a row, at least a panel wide, that is zero once it is flipped
	for j := range missing {
		missing[j] = flip
	}
	var rows [4][]uint8
	for i := 0; i < k; i += group {
		for t := range group {
			rows[t] = missing[:columns]
			if i+t < k {
				rows[t] = b[(i+t)*ldb:][:columns]
			}
		}
		out := panel[i*width:][:columns*group]
		if group == 4 {
			interleave4(out, rows[0], rows[1], rows[2], rows[3], flip)
		} else {
			interleave2(out, rows[0], rows[1], flip)
		}
	}
}

// Masks of every second byte and every second pair of bytes of a word.
const (
	evenBytes = 0x00ff00ff00ff00ff
	evenPairs = 0x0000ffff0000ffff
)

// interleave4 stores byte j of four rows at out[4*j:], eight columns at a time in words.
func interleave4(out, r0, r1, r2, r3 []uint8, flip uint8) {
	wide := uint64(flip) * 0x0101010101010101
	for ; len(r0) >= 8; r0, r1, r2, r3, out = r0[8:], r1[8:], r2[8:], r3[8:], out[32:] {
		even01, odd01 := interleaveBytes(le.Uint64(r0)^wide, le.Uint64(r1)^wide)
		even23, odd23 := interleaveBytes(le.Uint64(r2)^wide, le.Uint64(r3)^wide)
		c04, c26 := interleavePairs(even01, even23)
		c15, c37 := interleavePairs(odd01, odd23)
		o := out[:32]
		le.PutUint32(o, uint32(c04))
		le.PutUint32(o[4:], uint32(c15))
		le.PutUint32(o[8:], uint32(c26))
		le.PutUint32(o[12:], uint32(c37))
		le.PutUint32(o[16:], uint32(c04>>32))
		le.PutUint32(o[20:], uint32(c15>>32))
		le.PutUint32(o[24:], uint32(c26>>32))
		le.PutUint32(o[28:], uint32(c37>>32))
	}
	for j := range r0 {
		out[4*j], out[4*j+1], out[4*j+2], out[4*j+3] = r0[j]^flip, r1[j]^flip, r2[j]^flip, r3[j]^flip
	}
}

// interleave2 stores byte j of two rows at out[2*j:], eight columns at a time in words.
func interleave2(out, r0, r1 []uint8, flip uint8) {
	wide := uint64(flip) * 0x0101010101010101
	for ; len(r0) >= 8; r0, r1, out = r0[8:], r1[8:], out[16:] {
		c01, c23 := interleavePairs(interleaveBytes(le.Uint64(r0)^wide, le.Uint64(r1)^wide))
		o := out[:16]
		le.PutUint32(o, uint32(c01))
		le.PutUint32(o[4:], uint32(c23))
		le.PutUint32(o[8:], uint32(c01>>32))
		le.PutUint32(o[12:], uint32(c23>>32))
	}
	for j := range r0 {
		out[2*j], out[2*j+1] = r0[j]^flip, r1[j]^flip
	}
}

// interleaveBytes returns the even bytes of a, each followed by that of b, and the odd ones.
func interleaveBytes(a, b uint64) (even, odd uint64) {
	return a&evenBytes | b&evenBytes<<8, a>>8&evenBytes | b&^evenBytes
}

// interleavePairs returns the even pairs of bytes of a, each followed by that of b, and the odd ones.
func interleavePairs(a, b uint64) (even, odd uint64) {
	return a&evenPairs | b&evenPairs<<16, a>>16&evenPairs | b&^evenPairs
}

// flipBytes computes dst[i] = src[i] ^ flip.
func flipBytes(dst, src []uint8, flip uint8) {
	wide := uint64(flip) * 0x0101010101010101
	i := 0
	for ; i+8 <= len(src); i += 8 {
		le.PutUint64(dst[i:], le.Uint64(src[i:])^wide)
	}
	for ; i < len(src); i++ {
		dst[i] = src[i] ^ flip
	}
}

// sumBytes returns Σ (a[i] ^ flip).
func sumBytes(a []uint8, flip uint8) int32 {
	wide := uint64(flip) * 0x0101010101010101
	var sum uint64
	for len(a) >= 8 {
		// Four 16-bit lanes take 128 words of two bytes each without overflow: 128·2·255 < 2^16.
		var lanes uint64
		for n := 0; n < 128 && len(a) >= 8; n++ {
			v := le.Uint64(a) ^ wide
			lanes += v&evenBytes + v>>8&evenBytes
			a = a[8:]
		}
		sum += lanes&0xffff + lanes>>16&0xffff + lanes>>32&0xffff + lanes>>48
	}
	for _, v := range a {
		sum += uint64(v ^ flip)
	}
	return int32(sum)
}

// asBytes returns the memory of b.
func asBytes(b []int8) []uint8 {
	return unsafe.Slice((*uint8)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
}
