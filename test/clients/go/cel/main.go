// Cel asks cel-go what it makes of expressions. It reads a line of JSON and answers it with one: first with the cases of the
// CEL conformance suite whose expressions can be written over the variables of a condition, then with what cel-go says of each
// expression that it is given: refused by the checker, or true, false or an error for each input.
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"
)

type order struct {
	// The directory of the suite's files. Answered with a suite.
	Suite string `json:"suite"`
	// Answered with an answer for each of them.
	Types     *requestTypes `json:"types"`
	Questions []question    `json:"questions"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 256*1024*1024)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var next order
		check(json.Unmarshal(lines.Bytes(), &next))
		if next.Suite != "" {
			check(answers.Encode(readSuite(next.Suite)))
		} else {
			check(answers.Encode(answerAll(newConditions(*next.Types), next.Questions)))
		}
	}
	check(lines.Err())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
