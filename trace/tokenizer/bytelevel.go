package tokenizer

import "strings"

// GPT-2's byte pair encoding works on bytes, but its vocabulary is text: every
// byte is written as a character. Bytes that are visible characters of Latin-1 are
// written as those; the other bytes, in order, as the characters from U+0100 on.

// firstSubstitute is the character of the first byte that is not visible in Latin-1.
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

// runesToBytes appends the bytes that a token's characters stand for. If a character
// stands for no byte, as in some added tokens, it appends the token itself.
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
