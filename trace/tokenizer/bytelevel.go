package tokenizer

import "strings"

// GPT-2's byte pair encoding works on bytes, but its vocabulary is text: every
// byte is written as a character. Those of Latin-1 that are visible stand for
// themselves; the others, in order, for the characters from U+0100 on.

// firstSubstitute is the character of the first byte that has no visible one.
const firstSubstitute = 0x100

func visible(b byte) bool {
	return '!' <= b && b <= '~' || '¡' <= b && b <= '¬' || '®' <= b
}

// byteRunes returns the character of every byte.
func byteRunes() [256]rune {
	var runes [256]rune
	next := rune(firstSubstitute)
	for i := range runes {
		if visible(byte(i)) {
			runes[i] = rune(i)
			continue
		}
		runes[i] = next
		next++
	}
	return runes
}

// bytesToRunes writes each byte of a text as its character.
func bytesToRunes(text string) string {
	runes := byteRunes()
	var b strings.Builder
	for i := range len(text) {
		b.WriteRune(runes[text[i]])
	}
	return b.String()
}

// runesToBytes appends the bytes of which a token is written, or the token itself
// if it has a character that is none of theirs, as added tokens may.
func runesToBytes(dst []byte, token string, byteOf map[rune]byte) []byte {
	length := len(dst)
	for _, r := range token {
		b, ok := byteOf[r]
		if !ok {
			return append(dst[:length], token...)
		}
		dst = append(dst, b)
	}
	return dst
}
