#include <cstdio>

bool part_3(const char * text);

int main() {
    std::puts(part_3("a stand-in for llama-server, part 3") ? "a stand-in for llama-server" : "a part that does not work");
    return 0;
}
